"""What a record says of a run that did not come to its end."""

from __future__ import annotations

from traceback import format_exception
from typing import Any

from qatexp.errors import PrunedError, QatexpError


def ending_of(problem: BaseException, stage: str) -> tuple[str, dict[str, Any]]:
    """Status and error of a record, for what has ended its run.

    Args:
        problem: an interrupt or the end of the process count as interrupted, not as failed.
        stage: where it came up.
    """
    kind = problem.kind if isinstance(problem, QatexpError) else type(problem).__name__
    status, message = "failed", str(problem) or kind
    if not isinstance(problem, Exception):
        status = message = "interrupted"
    elif isinstance(problem, PrunedError):
        status = "pruned"
    error = {"stage": stage, "kind": kind, "message": message}
    if status == "failed":
        error["traceback"] = "".join(format_exception(problem))
    return status, error
