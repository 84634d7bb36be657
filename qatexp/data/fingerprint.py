"""Hashes that identify the content of a data set."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from torchvision.datasets import DatasetFolder

from qatexp.data.contents import contents_digest
from qatexp.data.folders import FolderImages, header_problem
from qatexp.data.source import ImageTensors


def tensors_digest(split: ImageTensors) -> str:
    """Hash shape, pixels and labels."""
    digest = hashlib.sha256(repr(tuple(split.images.shape)).encode())
    for tensor in (split.images, split.labels):
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()


def content_digest(dataset: Dataset[Any], *, index: Path | None) -> str | None:
    """Identify what a Dataset gives without decoding its images; None: it offers nothing to do so.

    That is its own `fingerprint`, or the content of the files of an image folder.

    Args:
        dataset: a user's, torchvision's or our own.
        index: where it is kept which files have been read; None reads all of them.

    Raises:
        DataError: a file cannot be read, or one of our own image folders is no image.
    """
    own = getattr(dataset, "fingerprint", None)
    if isinstance(own, str):
        return own
    if isinstance(dataset, FolderImages):
        files = zip(dataset.paths, dataset.targets, strict=True)
        root = str(dataset.root)
        return contents_digest(files, root=root, index=index, problem_of=header_problem)
    if isinstance(dataset, DatasetFolder):
        return contents_digest(dataset.samples, root=str(dataset.root), index=index)
    return None


def combined(**parts: Any) -> str:
    """Hash JSON values under their names."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
