"""The overrides of a run's command line as a tag."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

OVERRIDES_TAG = "qatexp.overrides"


def overrides_text(overrides: Sequence[str]) -> str:
    """Overrides as the value of the tag: a JSON list, as values may hold spaces and quotes."""
    return json.dumps(list(overrides))


def overrides_of(text: str) -> tuple[str, ...] | None:
    """Read the value of the tag back; None where it is empty.

    Earlier versions wrote them with spaces between.
    """
    if not text:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        found = re.split(r" +(?=[~+]{0,2}[\w./@:]+=|~\w)", text)
    return tuple(map(str, found)) if isinstance(found, list) else (text,)
