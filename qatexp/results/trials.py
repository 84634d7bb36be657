"""What tells the trials of a sweep apart, in as few words as possible."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from qatexp.records import Record, Variant
from qatexp.results.units import MISSING

WEIGHT_BITS, ACTIVATION_BITS, BITS = (
    "qconfig.weight.bits",
    "qconfig.activation.bits",
    "qconfig.bits",
)
_BIT_KEYS = (BITS, WEIGHT_BITS, ACTIVATION_BITS)
_TIMES = "\N{MULTIPLICATION SIGN}"
_LONGEST_VALUE = 24
_PHRASES: dict[str, Callable[[str], str]] = {
    "schedule.qat.lr_scale": lambda value: f"lr{_TIMES}{value}",
    "schedule.qat.epochs": lambda value: f"{value} ep",
}
"""How the knobs that are swept most read in a label."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting that differs between trials."""

    name: str
    """Short and unique among the knobs of a sweep: ``lr_scale``."""
    key: str
    """In full, ``schedule.qat.lr_scale``; ``qconfig.bits`` stands for all three keys of bits."""

    def text(self, record: Record) -> str:
        """The value in one trial, for a column."""
        if self.key == BITS:
            return bits_text(record)
        return value_text(record.params[self.key]) if self.key in record.params else MISSING

    def is_number(self, record: Record) -> bool:
        """Whether the value is one that a column aligns to the right; null is, too."""
        return self.key != BITS and isinstance(record.params.get(self.key), int | float | None)

    def phrase(self, record: Record) -> str:
        """The value in one trial, for a label that names no columns."""
        text = self.text(record)
        if self.key in _PHRASES:
            return _PHRASES[self.key](text)
        speaks_for_itself = self.key == BITS or isinstance(record.params.get(self.key), str)
        return text if speaks_for_itself else f"{self.name} {text}"


def deployable(record: Record) -> Variant | None:
    """What a trial would deploy: its qat variant, ptq where it has no qat, None without both."""
    return record.variants.get("qat", record.variants.get("ptq"))


def varying_keys(records: Sequence[Record]) -> list[str]:
    """Keys of `params` whose values differ between the records, in the order of the records."""
    keys = dict.fromkeys(key for record in records for key in record.params)
    return [key for key in keys if len({_identity(record, key) for record in records}) > 1]


def knobs(records: Sequence[Record]) -> list[Knob]:
    """The settings that differ between the records, bits of weights and activations as one."""
    keys = list(dict.fromkeys(BITS if key in _BIT_KEYS else key for key in varying_keys(records)))
    return [Knob(name, key) for key, name in zip(keys, short_names(keys), strict=True)]


def label(record: Record, differing: Iterable[Knob]) -> str:
    """Name one trial by what differs: ``W4A4``, learning-rate scale and epochs, say."""
    middle_dot = " \N{MIDDLE DOT} "
    return middle_dot.join(knob.phrase(record) for knob in differing) or record.name


def bits_text(record: Record) -> str:
    """``W4A8``: bits of weights and activations; 32 where they stay in float."""
    if WEIGHT_BITS not in record.params or ACTIVATION_BITS not in record.params:
        return value_text(record.params.get(BITS, MISSING))
    weight, activation = (record.params[key] for key in (WEIGHT_BITS, ACTIVATION_BITS))
    return f"W{32 if weight is None else weight}A{32 if activation is None else activation}"


def value_text(value: Any) -> str:
    """A setting in a few characters: a path by its last part, None as null, long ones cut."""
    if isinstance(value, float):
        return f"{value:g}"
    text = PurePath(value).name if isinstance(value, str) else json.dumps(value, default=str)
    if len(text) <= _LONGEST_VALUE:
        return text
    return text[: _LONGEST_VALUE - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _identity(record: Record, key: str) -> str:
    return json.dumps(record.params.get(key), sort_keys=True, default=str)


def short_names(keys: Sequence[str]) -> list[str]:
    """The last part of each key, and as many parts before it as it takes to be unique."""
    lengths = dict.fromkeys(keys, 1)
    while True:
        names = [".".join(key.split(".")[-lengths[key] :]) for key in keys]
        clashes = Counter(names)
        longer = [
            key
            for key, name in zip(keys, names, strict=True)
            if clashes[name] > 1 and lengths[key] < len(key.split("."))
        ]
        if not longer:
            return names
        lengths |= {key: lengths[key] + 1 for key in longer}
