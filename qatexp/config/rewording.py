"""What OmegaConf says of a value that does not fit its key, in our words."""

from __future__ import annotations

import re

from omegaconf.errors import OmegaConfBaseException

from qatexp.config.keys import allowed_at

_NULL = re.compile(r"Incompatible value 'None'|is not Optional")
_NO_LIST = "is not a ListConfig"
_OF_A_VALUE = re.compile(f"{_NULL.pattern}|{_NO_LIST}|could not be converted|is not a valid")
_INSTEAD_OF_NULL = {
    "qconfig.bits": (
        "qconfig.weight.bits=null or qconfig.activation.bits=null leave one of them in float"
    ),
}
"""What whoever sets a key to null may have wanted; elsewhere, most likely its default."""


def reworded(problem: OmegaConfBaseException) -> str:
    """OmegaConf's first line: the full key in front, and what is allowed."""
    text = str(problem.msg if problem.msg is not None else problem).strip().splitlines()[0]
    key = str(problem.full_key or "").replace("model.target", "model._target_")
    if not key:
        return f"{text.rstrip('.')}."
    allowed = allowed_at(key) if _OF_A_VALUE.search(text) else None
    end = "" if allowed is None else f"; {allowed}"
    if _NULL.search(text):
        instead = _INSTEAD_OF_NULL.get(key, "leave it out for its default")
        return f"{key}=null is not possible{end}; {instead}."
    if _NO_LIST in text:
        return f"{key}: the value is no list{end}."
    return f"{key}: {text.rstrip('.')}{end}."
