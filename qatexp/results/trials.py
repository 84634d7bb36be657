"""What tells the trials of a sweep apart, in as few words as possible."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_TARGET = "._target_"
_PHRASES: dict[str, Callable[[str], str]] = {
    "schedule.qat.lr_scale": lambda value: f"lr{_TIMES}{value}",
    "schedule.qat.epochs": lambda value: f"{value} ep",
}
"""How the knobs that are swept most read in a label."""
_LEADERS = ("model", "dataset")
_FOLLOWERS = ("model.", "dataset.", "schedule.", "qconfig.")
"""Where the settings lie that experiments choose to suit their model and data set."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting that differs between trials."""

    name: str
    """Short and unique among the knobs of a sweep: ``lr_scale``."""
    key: str
    """In full, ``schedule.qat.lr_scale``; ``qconfig.bits`` stands for all three keys of bits."""
    path_parts: int = 1
    """How many of a path's last parts it takes to tell the trials apart."""

    def text(self, record: Record) -> str:
        """The value in one trial, for a column."""
        if self.key == BITS:
            return bits_text(record)
        if self.key not in record.params:
            return MISSING
        return value_text(record.params[self.key], path_parts=self.path_parts)

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


def deployed_name(record: Record) -> str | None:
    """Which variant a trial would deploy: qat, ptq where it has no qat, None without both."""
    return next((name for name in ("qat", "ptq") if name in record.variants), None)


def deployable(record: Record) -> Variant | None:
    """What a trial would deploy; see `deployed_name`."""
    name = deployed_name(record)
    return None if name is None else record.variants[name]


def varying_keys(records: Sequence[Record]) -> list[str]:
    """Keys of `params` whose values differ between the records, in the order of the records.

    A target is left out where its short name, `model` or `dataset`, says the same.
    """
    keys = dict.fromkeys(key for record in records for key in record.params)
    values = {key: [_identity(record, key) for record in records] for key in keys}
    varying = [key for key, found in values.items() if len(set(found)) > 1]
    return [
        key
        for key in varying
        if not key.endswith(_TARGET) or not _says_as_much(values, key.removesuffix(_TARGET), key)
    ]


def _says_as_much(values: Mapping[str, Sequence[str]], short: str, key: str) -> bool:
    if short not in values:
        return False
    return len(set(zip(values[short], values[key], strict=True))) == len(set(values[short]))


def followers(records: Sequence[Record]) -> dict[str, list[str]]:
    """Settings that say nothing more where the model, or the data set, is told.

    Bits, learning-rate scale and epochs of QAT are never among them: they are what is compared.

    Returns:
        Keys by that of the setting which they follow from, `model` or `dataset`.
    """
    varying = varying_keys(records)
    values = {key: [_identity(record, key) for record in records] for key in varying}
    found: dict[str, list[str]] = {leader: [] for leader in _LEADERS if leader in values}
    for key in varying:
        if not key.startswith(_FOLLOWERS) or key in _BIT_KEYS or key in _PHRASES:
            continue
        leader = next((name for name in found if _says_as_much(values, name, key)), None)
        if leader is not None:
            found[leader].append(key)
    return {leader: keys for leader, keys in found.items() if keys}


def knobs(records: Sequence[Record]) -> list[Knob]:
    """The settings that differ between the records, bits of weights and activations as one.

    Those that follow from the model or the data set are left out, see `followers`.
    """
    led = {key for keys in followers(records).values() for key in keys}
    told = [key for key in varying_keys(records) if key not in led]
    keys = list(dict.fromkeys(BITS if key in _BIT_KEYS else key for key in told))
    return [
        Knob(name, key, _path_parts([record.params.get(key) for record in records]))
        for key, name in zip(keys, short_names(keys), strict=True)
    ]


def _path_parts(values: Sequence[Any]) -> int:
    paths = {value for value in values if isinstance(value, str)}
    most = max((len(PurePath(path).parts) for path in paths), default=1)
    for parts in range(1, most + 1):
        if len({value_text(path, path_parts=parts) for path in paths}) == len(paths):
            return parts
    return 1


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


def value_text(value: Any, *, path_parts: int = 1) -> str:
    """A setting in a few characters: a path by its last parts, None as null, long ones cut."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        text = "/".join(PurePath(value).parts[-path_parts:])
    else:
        text = json.dumps(value, default=str)
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
