"""Seeds for independent random decisions, derived from names and numbers."""

from __future__ import annotations

import hashlib

import torch


def derived_seed(*parts: str | int) -> int:
    """Derive a seed (0 to 2**63 - 1) that differs, in practice, for all different `parts`.

    Adding up seed, epoch and rank instead would give epoch 1 of seed 0 and epoch 0 of seed 1 the
    same draws.
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def derived_generator(*parts: str | int) -> torch.Generator:
    """Return a generator on the CPU: its draws are the same whatever device the images are on."""
    return torch.Generator().manual_seed(derived_seed(*parts))
