"""How an exception of other people's code is quoted in a message of ours."""

from __future__ import annotations


def reason(problem: BaseException) -> str:
    """Quote an exception by its type and the first line of its text, without a full stop."""
    name = type(problem).__name__
    first, *_ = str(problem).strip().splitlines() or [""]
    return f"{name}: {first.rstrip(' .!:')}" if first else name
