"""Hashes that identify the content of a data set."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from torchvision.datasets import DatasetFolder

from qatexp.data.source import ImageTensors


def tensors_digest(split: ImageTensors) -> str:
    """Hash shape, pixels and labels."""
    digest = hashlib.sha256(repr(tuple(split.images.shape)).encode())
    for tensor in (split.images, split.labels):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()


def listing_digest(dataset: Dataset[Any]) -> str | None:
    """Identify a Dataset without reading its images; None: it offers nothing to do so.

    That is its own `fingerprint`, or path, size and modification time of the files of a
    torchvision `DatasetFolder`.
    """
    own = getattr(dataset, "fingerprint", None)
    if isinstance(own, str):
        return own
    if not isinstance(dataset, DatasetFolder):
        return None
    digest = hashlib.sha256()
    for path, label in dataset.samples:
        state = os.stat(path)  # noqa: PTH116 - Path objects double the time of long lists
        relative = os.path.relpath(path, dataset.root)
        digest.update(f"{relative}\0{label}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def combined(**parts: Any) -> str:
    """Hash JSON values under their names."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
