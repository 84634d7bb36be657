"""What somebody who misspelt a name may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """At most three names that look like a word; empty where none does."""
    return get_close_matches(word, sorted(set(names)), n=3, cutoff=0.75)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """End of a message: ``; did you mean epochs?``, or a full stop where no name is near."""
    near = nearest(word, names)
    first = f"{', '.join(near[:-1])} or " if near[:-1] else ""
    return f"; did you mean {first}{near[-1]}?" if near else "."
