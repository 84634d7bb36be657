"""Log lines and error messages on the terminal."""

from __future__ import annotations

import logging
import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""


class ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Write to whatever `sys.stderr` is at the time: progress bars replace it while they live."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        """The present standard error stream."""
        return sys.stderr


def complain(message: str) -> None:
    """Show one error message."""
    print(f"qatexp: {message}", file=sys.stderr)
