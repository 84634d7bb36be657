"""Keys that the pages explain exist: a page that names a key of last month is a defect."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GROUPS = "qconfig|schedule|target|export|measure|trainer|sweep|tracking|cache"


def documented(page: str) -> list[str]:
    """Full keys in the first column: `a.{b,c}` and "`a.b`, `.c`" are written out."""
    found: list[str] = []
    for cell in re.findall(r"^\| (.*?) \|", page, re.MULTILINE):
        for text in re.findall(r"`([^`]+)`", cell):
            key = text.partition("=")[0]
            if key.startswith("."):
                key = found[-1].rpartition(".")[0] + key
            if re.match(rf"({GROUPS}|\{{)[\w.,{{}}]*$", key):
                choices = [part.strip("{}").split(",") for part in re.split(r"(\{.*?\})", key)]
                found += ["".join(parts) for parts in product(*choices)]
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/configuration.md"])
def test_every_documented_key_exists(points, page):
    keys = documented((ROOT / page).read_text(encoding="utf-8"))
    assert len(keys) > 10
    (config,) = points()
    for key in keys:
        branch: object = config
        for name in key.split("."):
            assert hasattr(branch, name), f"{page} explains {key}, which does not exist"
            branch = getattr(branch, name)
