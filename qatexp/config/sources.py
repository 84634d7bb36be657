"""Where the YAML files are: inside an installed package, else beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

import qatexp

_PACKAGE = Path(qatexp.__file__).resolve().parent
CONF = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())
"""Folder of ``config.yaml`` and the groups."""

CONFIG_NAME = "config"
"""Of the primary file in it."""
