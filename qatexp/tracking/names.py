"""What MLflow accepts as names and values of params and metrics."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

MAX_NAME = 250
MAX_PARAM_VALUE = 6000
MAX_TAG_VALUE = 8000
_FORBIDDEN = re.compile(r"[^/\w.\- :]")


def clean_name(name: str) -> str:
    """Replace characters that MLflow refuses (brackets, commas, …) by ``_``, and cut to 250."""
    return _cut(_FORBIDDEN.sub("_", name), limit=MAX_NAME, what=f"the name {name[:40]}…")


def param_text(name: str, value: Any) -> str:
    """Text of a param: a string as it is, everything else as JSON, as in ``record.json``."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return _cut(text, limit=MAX_PARAM_VALUE, what=f"the param {name}")


def tag_text(name: str, value: Any) -> str:
    """Text of a tag, cut to what MLflow keeps."""
    return _cut(str(value), limit=MAX_TAG_VALUE, what=f"the tag {name}")


def split_finite(metrics: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Part metrics that can be drawn from the others, which would wreck every chart they are in.

    Returns:
        The finite metrics, and ``name=value`` of each that is not.
    """
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return finite, [f"{name}={value}" for name, value in metrics.items() if name not in finite]


def _cut(text: str, *, limit: int, what: str) -> str:
    if len(text) <= limit:
        return text
    logger.warning("%s is cut to %d of %d characters in MLflow", what, limit, len(text))
    return text[:limit]
