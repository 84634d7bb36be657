"""Hash values of plain data, for the names of cached stages."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def fingerprint(*parts: Any) -> str:
    """Hash JSON types to 16 hexadecimal digits; the order of dictionary keys does not count."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
