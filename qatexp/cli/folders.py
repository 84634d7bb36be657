"""The folders of new runs: each is one run's alone, also where several start within one second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qatexp.cli.compose import Request


def stamp(kind: str) -> str:
    """Name a new folder of `multirun/<kind>/`: <date>_<time>, numbered within one second."""
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in count(1):
        candidate = name if number == 1 else f"{name}-{number}"
        if not (Path("multirun") / kind / candidate).exists():
            return candidate
    raise AssertionError("count() does not end")


def new_folder(kind: str) -> Path:
    """Create a folder of `multirun/<kind>/` that no other process has."""
    while True:
        folder = Path("multirun") / kind / stamp(kind)
        if _created(folder):
            return folder


def claimed(ask: Callable[[], Request]) -> Request:
    """Check a request and create its folder, which no other process takes from then on.

    Args:
        ask: checks the request; asked again where another process was faster, for a new name.

    Returns:
        The request, with the folder among its overrides. A folder that the command line names, or
        that was there before, as of a sweep that goes on, is left as it is.
    """
    taken = None
    while True:
        request = ask()
        goes_on = request.folder_override() in request.overrides
        # A new name is never that of a folder which is there: found twice, a file gives it.
        if request.is_named or goes_on or request.folder == taken:
            return request
        if _created(request.folder):
            return replace(request, overrides=(*request.overrides, request.folder_override()))
        taken = request.folder


def _created(folder: Path) -> bool:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True
