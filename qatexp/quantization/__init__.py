"""Quantization-aware training: *what* (spec), *where* (annotate) and *how* (prepare, convert)."""

from __future__ import annotations

import logging

# Importing torchao 0.18 under torch 2.14 logs a deprecation of its own that no user can act on.
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
