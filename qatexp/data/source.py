"""What a data source returns: the images of each split, their classes, and checks of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from qatexp.errors import DataError

EXPECTED = (
    "expected a qatexp.data.Source whose splits are qatexp.data.ImageTensors "
    "or map-style torch Datasets of (PIL image, int)"
)


@dataclass(frozen=True, slots=True)
class ImageTensors:
    """A split that is in memory already.

    Attributes:
        images: uint8, shape (N, C, H, W), values 0..255.
        labels: int64, shape (N,), values 0..classes-1.
    """

    images: Tensor
    labels: Tensor


class LabelledImages(Dataset[tuple[Image.Image, int]]):
    """A split that is read image by image: a map-style Dataset of (PIL image, int).

    Users' Datasets need not derive from it. Two optional attributes save a full reading of the
    data when it is streamed: `targets`, all labels in order, and `fingerprint`, a text that
    changes whenever the images do.
    """

    targets: Sequence[int]
    fingerprint: str

    def __len__(self) -> int:
        """Count the images."""
        return len(self.targets)


Split = ImageTensors | Dataset[tuple[Image.Image, int]]


@dataclass(frozen=True, slots=True)
class Source:
    """What a source callable returns; users' own data come in as one of these, too.

    Attributes:
        train: images to train on; a validation split is taken from them unless `val` is given.
        test: images that only report, never select.
        classes: names of the classes, in the order of the labels.
        val: validation images, where the data set brings its own.
        mean: per channel, of images scaled to 0..1; None: measured, or a convention.
        std: as `mean`.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    val: Split | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def splits(self) -> dict[str, Split]:
        """Return the splits that exist by name: train, val (where there is one) and test."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}


def split_length(split: Split) -> int:
    """Count the images of a split."""
    return len(split.images) if isinstance(split, ImageTensors) else len(split)  # type: ignore[arg-type]


def check_source(returned: Any, *, target: str) -> Source:
    """Check what a source callable returned, as far as possible without reading images.

    Raises:
        DataError: it is not a `Source`, a split is empty or of another kind, or shapes, types and
            class names do not fit together.
    """
    if not isinstance(returned, Source):
        raise DataError(f"dataset._target_={target} returned {_kind(returned)}; {EXPECTED}.")
    if not returned.classes or not all(isinstance(name, str) for name in returned.classes):
        raise DataError(
            f"dataset._target_={target} returned classes={returned.classes!r}; "
            "expected a tuple with the name of every class."
        )
    if (returned.mean is None) != (returned.std is None):
        raise DataError(
            f"dataset._target_={target} returned mean={returned.mean} and std={returned.std}; "
            "expected both or neither."
        )
    for name, split in returned.splits().items():
        _check_split(split, f"the {name} split of dataset._target_={target}")
    return returned


def _check_split(split: Any, where: str) -> None:
    if isinstance(split, ImageTensors):
        _check_tensors(split, where)
    elif not (hasattr(split, "__getitem__") and hasattr(split, "__len__")) or isinstance(
        split, list | tuple | str | dict
    ):
        raise DataError(f"{where} is {_kind(split)}; {EXPECTED}.")
    if split_length(split) == 0:
        raise DataError(f"{where} holds no images; at least one is needed.")


def _check_tensors(split: ImageTensors, where: str) -> None:
    images, labels = split.images, split.labels
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise DataError(
            f"{where}: images are {images.dtype} of shape {tuple(images.shape)}; "
            "expected torch.uint8 of shape (N, C, H, W)."
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise DataError(
            f"{where}: labels are {labels.dtype} of shape {tuple(labels.shape)}; "
            f"expected torch.int64 of shape ({len(images)},), one for each image."
        )


def check_labels(labels: Tensor, *, split: str, classes: int) -> None:
    """Check that all labels of a split name a class.

    Raises:
        DataError: a label is below 0 or above the number of classes minus one.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong) > 0:
        raise DataError(
            f"{len(wrong)} labels of the {split} split are outside 0..{classes - 1}, "
            f"{int(wrong[0])} for instance; the data set names {classes} classes."
        )


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
