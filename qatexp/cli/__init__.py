"""The command line: the Hydra application, the verbs beside it, and exit codes.

Nothing slow is imported here: `qatexp --help` and a wrong key answer before torch is loaded.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the console script.

    It ends with exit code 0, 1 (failed), 2 (wrong request) or 130 (interrupted).
    """
    # A console script has no current folder on its path, `python -m` has: users' own models.
    if os.getcwd() not in sys.path:  # noqa: PTH109  sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    from qatexp.cli.console import outlive_readers
    from qatexp.cli.verbs import VERBS, run_verb

    outlive_readers()
    arguments = sys.argv[1:]
    if arguments and arguments[0] in VERBS:
        sys.exit(run_verb(arguments))
    from qatexp.cli.application import run_application

    sys.exit(run_application(arguments))
