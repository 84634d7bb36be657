"""CIFAR-10, CIFAR-100 and Fashion-MNIST, in torchvision's layout on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
import torchvision.datasets

from qatexp.config.layout import LAYOUT, has_folder_layout
from qatexp.data.source import ImageTensors, Source
from qatexp.data.sources.folder import folder_source
from qatexp.errors import ConfigError, DataError

_log = logging.getLogger(__name__)

CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR100_FOLDER = "cifar-100-python"


def cifar10(*, root: str | None = None, download: bool = False) -> Source:
    """Give CIFAR-10: 50,000 + 10,000 RGB images of 32x32 pixels in ten classes.

    Args:
        root: folder with torchvision's ``cifar-10-batches-py``, or with image folders
            ``train/<class>/`` and ``test/<class>/`` (or ``val/<class>/``); the former if it has
            both.
        download: fetch torchvision's files if neither is there.

    Raises:
        ConfigError: root is not given.
        DataError: neither layout is there, or the download failed.
    """
    folder = _root(root)
    if not (folder / CIFAR10_FOLDER).is_dir() and has_folder_layout(folder):
        _log.info("CIFAR-10 is read from the image folders in %s", folder)
        source = folder_source(folder)
        if len(source.classes) != 10:
            raise DataError(
                f"dataset.root={folder} holds image folders of {len(source.classes)} classes, "
                "CIFAR-10 has 10; for other images use dataset=imagefolder."
            )
        return source
    looked_for = f"{CIFAR10_FOLDER}/ (torchvision's layout) and {LAYOUT}"
    return _cifar("CIFAR10", folder, download=download, looked_for=looked_for)


def cifar100(*, root: str | None = None, download: bool = False) -> Source:
    """Give CIFAR-100: 50,000 + 10,000 RGB images of 32x32 pixels in a hundred classes.

    Args:
        root: folder with torchvision's ``cifar-100-python``.
        download: fetch the files if they are not there.

    Raises:
        ConfigError: root is not given.
        DataError: the files are not there, or the download failed.
    """
    looked_for = f"{CIFAR100_FOLDER}/ (torchvision's layout)"
    return _cifar("CIFAR100", _root(root), download=download, looked_for=looked_for)


def fashion_mnist(*, root: str | None = None, download: bool = False) -> Source:
    """Give Fashion-MNIST: 60,000 + 10,000 grey images of 28x28 pixels in ten classes.

    Args:
        root: folder with torchvision's ``FashionMNIST/raw``.
        download: fetch the files if they are not there.

    Raises:
        ConfigError: root is not given.
        DataError: the files are not there, or the download failed.
    """
    looked_for = "FashionMNIST/raw/ (torchvision's layout)"
    folder = _root(root)
    parts = [
        _open("FashionMNIST", folder, train=train, download=download, looked_for=looked_for)
        for train in (True, False)
    ]
    train, test = (
        ImageTensors(part.data.unsqueeze(1), part.targets.to(torch.int64)) for part in parts
    )
    return Source(train=train, test=test, classes=tuple(parts[0].classes))


def _cifar(name: str, folder: Path, *, download: bool, looked_for: str) -> Source:
    parts = [
        _open(name, folder, train=train, download=download, looked_for=looked_for)
        for train in (True, False)
    ]
    train, test = (
        ImageTensors(
            torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(),
            torch.tensor(part.targets, dtype=torch.int64),
        )
        for part in parts
    )
    return Source(train=train, test=test, classes=tuple(parts[0].classes))


def _open(name: str, folder: Path, *, train: bool, download: bool, looked_for: str) -> Any:
    """Open one split of a torchvision data set, which checks its files' MD5 sums where it has any.

    torchvision raises RuntimeError for missing and damaged files, and whatever the network stack
    raises (OSError and its kin, HTTPException) for failed downloads.
    """
    try:
        return getattr(torchvision.datasets, name)(folder, train=train, download=download)
    except Exception as problem:
        if download:
            raise DataError(
                f"dataset.download=true: {name} could not be downloaded to dataset.root={folder}: "
                f"{problem}. Check the network and the folder, or copy the files there."
            ) from problem
        raise DataError(
            f"{name} was not found, or is damaged, in dataset.root={folder}; "
            f"looked for: {looked_for}. Set dataset.download=true to fetch it, or point "
            "dataset.root at the folder that holds it."
        ) from problem


def _root(root: str | None) -> Path:
    if root is None:
        raise ConfigError(
            "dataset.root is not set; point it at the folder that holds the data set, or that "
            "dataset.download=true may fill."
        )
    return Path(root).expanduser()
