"""Sizes and spans of time as people write them: ``10GB``, ``30d``."""

from __future__ import annotations

import re

from qatexp.errors import ConfigError

_BYTES = {"": 1, "b": 1}
_BYTES |= {f"{unit}b": 1000**power for power, unit in enumerate("kmgt", start=1)}
_BYTES |= {f"{unit}ib": 1024**power for power, unit in enumerate("kmgt", start=1)}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def bytes_of(option: str, text: str) -> int:
    """Read ``10GB``, ``1.5 MiB`` or a number of bytes.

    Raises:
        ConfigError: it is no size.
    """
    allowed = "a number of bytes, or one with kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB"
    return int(_quantity(text, _BYTES, f"{option}={text}: allowed is {allowed}, such as 10GB."))


def seconds_of(option: str, text: str) -> float:
    """Read ``30d``, ``12h``.

    Raises:
        ConfigError: it is no span of time.
    """
    allowed = "a number with s, min, h, d or w"
    return _quantity(text, _SECONDS, f"{option}={text}: allowed is {allowed}, such as 30d.")


def _quantity(text: str, units: dict[str, int], message: str) -> float:
    found = _QUANTITY.fullmatch(text)
    if found is None or (unit := found[2].lower()) not in units:
        raise ConfigError(message)
    return float(found[1]) * units[unit]
