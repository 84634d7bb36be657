"""From the text of a `--where` expression to its tree, by recursive descent; nothing is executed.

either     = both {"or" both}
both       = contrary {"and" contrary}
contrary   = "not" contrary | "(" either ")" | comparison
comparison = operand {sign operand}       sign: < <= > >= == = != in, not in
operand    = name | number | 'text' | true | false | null | list
list       = "[" operand {"," operand} "]", or in round brackets behind in
"""

from __future__ import annotations

from collections.abc import Callable

from qatexp.compare.where.evaluate import Comparison, Constant, Joined, Name, Node, Not, Operand
from qatexp.compare.where.tokens import COMPARISONS, CONSTANTS, Token, WhereError, tokens

__all__ = ["WhereError", "parse"]

_DEEPEST = 40
"""Nested brackets and nots; more is no expression that anyone has written by hand."""
_BRACKETS = {"(": ")", "[": "]"}


def parse(text: str, resolve: Callable[[str], str]) -> Node:
    """Read an expression.

    Args:
        text: for instance ``bits <= 4 and quantizer in ['lsq', 'pact']``.
        resolve: the full key for a name; raises `WhereError` for an unknown one.

    Raises:
        WhereError: it does not follow the grammar, or `resolve` does not know a name.
    """
    parser = _Parser(tokens(text), resolve)
    node = parser.joined("or", 0)
    if parser.next.kind != "end":
        raise WhereError(f"and, or, or the end is expected before {parser.next.written}")
    return node


class _Parser:
    """A position in the tokens of one expression."""

    def __init__(self, words: list[Token], resolve: Callable[[str], str]) -> None:
        self._words = words
        self._resolve = resolve
        self._at = 0

    @property
    def next(self) -> Token:
        """The token to read next."""
        return self._words[self._at]

    def joined(self, word: str, depth: int) -> Node:
        """Parts joined by or; below it, parts joined by and."""
        parts = [self._part(word, depth)]
        while self._take(word):
            parts.append(self._part(word, depth))
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _part(self, word: str, depth: int) -> Node:
        return self.joined("and", depth) if word == "or" else self._contrary(depth)

    def _contrary(self, depth: int) -> Node:
        if depth > _DEEPEST:
            raise WhereError(f"brackets are nested more than {_DEEPEST} deep")
        if self._take("not"):
            return Not(self._contrary(depth + 1))
        if self._take("("):
            inner = self.joined("or", depth + 1)
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Comparison:
        operands, signs = [self._operand()], []
        while (sign := self._sign()) is not None:
            signs.append(sign)
            operands.append(self._operand(in_list=sign in ("in", "not in")))
        return Comparison(tuple(operands), tuple(signs))

    def _sign(self) -> str | None:
        if self._take("in"):
            return "in"
        if self.next.written == "not" and self._words[self._at + 1].written == "in":
            self._at += 2
            return "not in"
        written = self.next.written
        if self.next.kind != "sign" or written not in COMPARISONS:
            return None
        self._at += 1
        return "==" if written == "=" else written

    def _operand(self, *, in_list: bool = False) -> Operand:
        word = self.next
        if word.written == "[" or (in_list and word.written == "("):
            return self._list()
        readers: dict[str, Callable[[str], Operand]] = {
            "number": lambda written: Constant(float(written)),
            "text": lambda written: Constant(written[1:-1]),
            "constant": lambda written: Constant(CONSTANTS[written.lower()]),
            "name": lambda written: Name(self._resolve(written), written),
        }
        if word.kind not in readers:
            raise WhereError(f"a name or a value is expected before {word.written}")
        self._at += 1
        return readers[word.kind](word.written)

    def _list(self) -> Constant:
        closing = _BRACKETS[self.next.written]
        self._at += 1
        items = []
        while not self._take(closing):
            item = self._operand()
            if isinstance(item, Name):
                raise WhereError(f"a list holds values; text goes in quotes: '{item.written}'")
            items.append(item.value)
            if self.next.written != closing:
                self._expect(",")
        return Constant(items)

    def _take(self, written: str) -> bool:
        taken = self.next.kind in ("keyword", "sign") and self.next.written == written
        self._at += taken
        return taken

    def _expect(self, written: str) -> None:
        if not self._take(written):
            raise WhereError(f"{written} is expected before {self.next.written}")
