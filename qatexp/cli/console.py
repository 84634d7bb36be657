"""Log lines and error messages on the terminal."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import sys
from pathlib import Path
from typing import Any

from qatexp.config.sources import CONF

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""


_warned: set[str] = set()
"""Warnings that this process has shown; handlers come and go with the trials of a sweep."""


class ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Write to whatever `sys.stderr` is at the time: progress bars replace it while they live.

    A warning is shown once per process: the trials of a serial sweep share most of theirs. The log
    file of each trial, and its record, have all of them.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, unless it is a warning that stands on the terminal already."""
        if record.levelno == logging.WARNING:
            message = record.getMessage()
            if message in _warned:
                return
            _warned.add(message)
        super().emit(record)

    @property
    def stream(self) -> object:
        """The present standard error stream."""
        return sys.stderr


class _Outlet(io.TextIOWrapper):
    """A stream whose reader may go away, as ``head`` does: the rest goes nowhere.

    The exception is caught here and not where bytes are written: a signal that arrives in Python
    code down there would make the buffer write its bytes a second time.
    """

    def write(self, text: str, /) -> int:
        """Write as a file does; what nobody reads any more counts as written."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._to_nowhere()
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, if anybody reads it."""
        try:
            super().flush()
        except BrokenPipeError:
            self._to_nowhere()

    def _to_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlive_readers() -> None:
    """Let a reader of standard output or error go away without ending the command's work.

    Streams that something else has replaced are left to it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue
        stream.flush()
        new = _Outlet(
            io.BufferedWriter(io.FileIO(stream.fileno(), "w", closefd=False)),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, new)


def complain(message: str) -> None:
    """Show one error message."""
    print(f"qatexp: {message}", file=sys.stderr)


def log_to(folder: Path) -> None:
    """Log as a run does: plain lines on the terminal, times and modules in the folder."""
    from omegaconf import OmegaConf

    settings = OmegaConf.load(CONF / "hydra" / "job_logging" / "qatexp.yaml")
    settings.handlers.file.filename = str(folder / "qatexp.log")
    content: Any = OmegaConf.to_container(settings)
    logging.config.dictConfig(content)
