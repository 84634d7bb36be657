"""The folders of anybody's images, which can be looked at without torch."""

from __future__ import annotations

from pathlib import Path

LAYOUT = "train/<class>/ and test/<class>/ (or val/<class>/)"
_NAMED = 10


def has_folder_layout(root: Path) -> bool:
    """Say whether there are folders to train on and to report on."""
    return (root / "train").is_dir() and any((root / name).is_dir() for name in ("test", "val"))


def layout_problem(root: Path) -> str | None:
    """What a folder lacks of `LAYOUT`, to follow its name in a message; None: nothing.

    Raises:
        OSError: it cannot be listed.
    """
    if has_folder_layout(root):
        return None
    missing = "train" if not (root / "train").is_dir() else "test (or val)"
    found = sorted(entry.name for entry in root.iterdir())
    more = ", …" if len(found) > _NAMED else ""
    listed = f"{', '.join(found[:_NAMED])}{more}"
    return f"has no folder {missing}; expected {LAYOUT}, found: {listed}"
