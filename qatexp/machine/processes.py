"""Which process something belongs to, and whether it still lives."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_START_TICKS = 19
"""Index of a process's start among the fields behind its name, see proc_pid_stat(5)."""
_ENDED_STATES = "ZX"
"""First of those fields of a process that has ended, and that its parent has not taken notice of:
in a container without an init it stays so for ever."""


@dataclass(frozen=True, slots=True)
class Process:
    """Place, number and start of a process: numbers are used again, with another start."""

    place: tuple[str, ...]
    """What processes have to share to know each other: host, and on Linux boot and namespace."""
    pid: int
    started: float

    @property
    def host(self) -> str:
        """Name of the machine."""
        return self.place[0]

    @property
    def is_here(self) -> bool:
        """Whether this process can see it, dead or alive."""
        return self.place == _place()

    @property
    def is_dead(self) -> bool:
        """Whether it ran here, and has ended; of another place nothing is known."""
        if not self.is_here:
            return False
        try:
            return _started(psutil.Process(self.pid)) != self.started
        except psutil.NoSuchProcess:
            return True

    @property
    def is_of_earlier_boot(self) -> bool:
        """Whether it ran on a machine of this one's name that was started anew since.

        Names are not proof enough to take its locks.
        """
        here = _place()
        both_know = len(self.place) > 1 and len(here) > 1
        return both_know and self.host == here[0] and self.place[1] != here[1]

    def to_json(self) -> str:
        """As one line, which `process_of` reads."""
        return json.dumps(asdict(self))


def this_process() -> Process:
    """The process that asks."""
    own = psutil.Process()
    return Process(_place(), own.pid, _started(own))


def seconds_since_start() -> float:
    """How long this process has been running, its loading of Python included."""
    return max(0.0, time.time() - float(psutil.Process().create_time()))


def process_of(text: str) -> Process | None:
    """Read what `Process.to_json` has written; None where it is something else."""
    try:
        found = json.loads(text)
        place = tuple(str(part) for part in found["place"])
        return Process(place, int(found["pid"]), float(found["started"])) if place else None
    except (ValueError, KeyError, TypeError):
        return None


def _place() -> tuple[str, ...]:
    place = [socket.gethostname()]
    with suppress(OSError):
        place.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        place.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return tuple(place)


def _started(process: psutil.Process) -> float:
    """Start of a process: on Linux in ticks since the boot, as clocks are set; else in seconds.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    try:
        text = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    except OSError:
        if process.status() == psutil.STATUS_ZOMBIE:
            raise psutil.NoSuchProcess(process.pid) from None
        return round(float(process.create_time()), 2)
    fields = text.rpartition(")")[2].split()
    if fields[0] in _ENDED_STATES:
        raise psutil.NoSuchProcess(process.pid)
    return float(fields[_START_TICKS])
