"""The words of a `--where` expression."""

from __future__ import annotations

import re
from dataclasses import dataclass

KEYWORDS = ("and", "or", "not", "in")
CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
"""In any case of letters: YAML's words and Python's."""
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=", "=")
_PATTERN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*(?:[./][A-Za-z0-9_]+)*)"
    r"|(?P<sign><=|>=|==|!=|[<>=()\[\],]))",
    re.ASCII,
)


class WhereError(ValueError):
    """An expression that cannot be read or used; the message is the rest of a sentence."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, as it was written."""

    kind: str
    """number, text, name, keyword, constant, sign or end."""
    written: str


END = Token("end", "the end")


def tokens(text: str) -> list[Token]:
    """Split an expression; the last token is `END`.

    Raises:
        WhereError: a character has no meaning.
    """
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _PATTERN.match(text, position)
        if match is None:
            raise WhereError(f"cannot read {text[position:].strip()[:20]!r}")
        found.append(_token(str(match.lastgroup), match.group(str(match.lastgroup))))
        position = match.end()
    return [*found, END]


def _token(kind: str, written: str) -> Token:
    if kind != "word":
        return Token(kind, written)
    if written in KEYWORDS:
        return Token("keyword", written)
    return Token("constant" if written.lower() in CONSTANTS else "name", written)
