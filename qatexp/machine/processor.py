"""The processor, as Linux describes it."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_description() -> dict[str, str] | None:
    """What Linux says of the first processor, by key; None on other systems."""
    try:
        return parsed(CPUINFO.read_text(encoding="utf-8"))
    except OSError:
        return None


def parsed(cpuinfo: str) -> dict[str, str]:
    """Read ``key : value`` lines; of a key that several processors have, the first one counts."""
    found: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            found.setdefault(key.strip(), value.strip())
    return found


def flags_of(description: dict[str, str]) -> frozenset[str]:
    """Features of a processor: `flags` on x86, `Features` on Arm."""
    return frozenset((description.get("flags") or description.get("Features", "")).split())
