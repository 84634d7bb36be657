"""qatexp: Hydra-configured experiments in quantization-aware training of vision models."""

from __future__ import annotations

__version__ = "0.1.0"
