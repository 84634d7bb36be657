"""What somebody who misspelt a name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LOOSE = 0.6
"""Likeness that is enough for names of several parts, or of the users' own."""


def nearest(word: str, names: Iterable[str], *, likeness: float = 0.75) -> list[str]:
    """At most three names that look like a word, the most alike first; empty where none does."""
    return get_close_matches(word, sorted(set(names)), n=3, cutoff=likeness)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """End of a message: ``; did you mean epochs?``, or a full stop where no name is near."""
    near = nearest(word, names)
    first = f"{', '.join(near[:-1])} or " if near[:-1] else ""
    return f"; did you mean {first}{near[-1]}?" if near else "."
