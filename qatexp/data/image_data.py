"""A data set that is ready for use: batches of normalised images, split by split."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from qatexp.config.schema import DatasetConfig, Placement
from qatexp.data.fingerprint import combined
from qatexp.data.geometry import Geometry
from qatexp.data.images import Draw, Images
from qatexp.data.normalise import Normaliser
from qatexp.data.seeding import derived_generator
from qatexp.errors import ConfigError, DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One split: some images of a set, in order."""

    images: Images
    indices: Tensor


class ImageData:
    """Batches of a data set. Images are float32 (N, C, H, W), contiguous, labels int64 (N,).

    The splits are ``train`` (without validation images), ``val`` (selects the model; may be
    empty), ``test`` (reports) and ``calibration``: the training images in an order drawn from
    ``dataset.split_seed``.

    Attributes:
        name: short name of the data set.
        classes: names of the classes, in the order of the labels.
        channels: per image.
        image_size: height and width, in pixels.
        fingerprint: hash of content, split, sizes and normalisation. Not of batch sizes, device
            and augmentation, which do not change what the data set is.
        warnings: what was weakened so far, for the record.
    """

    def __init__(
        self,
        config: DatasetConfig,
        *,
        classes: tuple[str, ...],
        geometry: Geometry,
        placement: Placement,
        contents: Mapping[str, str],
        parts: Mapping[str, Part],
        normalise: Normaliser,
        warnings: list[str],
    ) -> None:
        self.name, self.classes = config.name, classes
        self.channels = geometry.channels
        self.image_size = (geometry.height, geometry.width)
        self.fingerprint = combined(
            contents=dict(contents),
            classes=classes,
            split=[config.split_seed, config.val_fraction],
            geometry=asdict(geometry),
            normalisation=[normalise.mean, normalise.std],
        )
        self.warnings = warnings
        self._test_fingerprint = contents["test"]
        self._config, self._placement = config, placement
        self._parts, self._normalise = parts, normalise
        self._resize = geometry.resize

    def size(self, split: str) -> int:
        """Count the images of train, val, calibration or test."""
        return len(self._part(split).indices)

    def steps_per_epoch(self) -> int:
        """Count the full batches of an epoch; an incomplete last one is dropped.

        Raises:
            DataError: there are fewer training images than one batch.
        """
        size, batch = self.size("train"), self._config.batch_size
        if size < batch:
            raise DataError(
                f"dataset.batch_size={batch} is more than the {size} training images of "
                f"{self.name}; set dataset.batch_size to at most {size}."
            )
        return size // batch

    def train_batches(
        self,
        *,
        epoch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        limit: int | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the augmented batches of one epoch, in an order drawn from seed and epoch.

        Args:
            epoch: from 0.
            seed: of order and augmentation.
            rank: of this process, from 0.
            world_size: number of processes; each gets its equal slice of every batch.
            limit: at most so many batches; None: all.

        Raises:
            ConfigError: the batch cannot be divided by the processes.
            DataError: there are fewer training images than one batch, or one cannot be read.
        """
        steps, batch = self.steps_per_epoch(), self._config.batch_size
        if batch % world_size != 0:
            raise ConfigError(
                f"dataset.batch_size={batch} cannot be divided by trainer.devices={world_size}; "
                "allowed: a multiple of it."
            )
        steps = steps if limit is None else min(steps, limit)
        order = self._shuffled(seed, "epoch", epoch)
        share = batch // world_size
        starts = [step * batch + rank * share for step in range(steps)]
        batches = [order[start : start + share] for start in starts]
        return self._read("train", batches, draw=Draw(seed, epoch, rank))

    def eval_batches(self, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield a whole split in order, not augmented; nothing for an empty val.

        Args:
            split: train, val, calibration or test.

        Raises:
            DataError: an image cannot be read.
        """
        if self.size(split) == 0:
            return iter(())
        batches = torch.split(self._part(split).indices, self._config.eval_batch_size)
        return self._read(split, list(batches))

    def calibration_batches(self, batches: int, *, seed: int) -> Iterator[Tensor]:
        """Yield disjoint random batches of training images, not augmented, without labels.

        Args:
            batches: how many, of ``dataset.batch_size`` images each; if there are fewer, all.
            seed: chooses the images; other seeds give other draws.

        Raises:
            DataError: there are fewer training images than one batch, or one cannot be read.
        """
        available, size = self.steps_per_epoch(), self._config.batch_size
        order = self._shuffled(seed, "calibration")
        chosen = list(torch.split(order[: min(batches, available) * size], size))
        return (images for images, _ in self._read("train", chosen))

    def tell_of_few(self, batches: int, *, key: str) -> None:
        """Warn, once, where there are fewer calibration batches than the value of `key`."""
        available, size = self.steps_per_epoch(), self._config.batch_size
        if batches > available:
            self._warn(
                f"{key}={batches} of {size} images are {batches * size:,}, but there are only "
                f"{self.size('train'):,} training images: using "
                f"{available} {'batch' if available == 1 else 'batches'}"
            )

    def example(self, batch: int = 2) -> Tensor:
        """Return the first training images, normalised; with too few of them, some repeat."""
        indices = self._part("train").indices
        chosen = indices[torch.arange(batch) % len(indices)]
        images, _ = next(self._read("train", [chosen]))
        return images

    def summary(self) -> dict[str, Any]:
        """Return what the record says about the data, as JSON types."""
        return {
            "name": self.name,
            "classes": len(self.classes),
            "class_names": list(self.classes),
            "train": self.size("train"),
            "val": self.size("val"),
            "test": self.size("test"),
            "split_seed": self._config.split_seed,
            "fingerprint": self.fingerprint,
            "test_fingerprint": self._test_fingerprint,
            "placement": self._placement.value,
            "mean": list(self._normalise.mean),
            "std": list(self._normalise.std),
        }

    def preprocessing(self) -> dict[str, Any]:
        """Return what evaluation does with an image, in that order, as JSON types."""
        return {
            "channels": {1: "grey", 3: "RGB"}.get(self.channels, self.channels),
            "resize_shorter_side": self._resize,
            "centre_crop": list(self.image_size),
            "divide_by": 255,
            "mean": list(self._normalise.mean),
            "std": list(self._normalise.std),
            "layout": "NCHW",
            "dtype": "float32",
        }

    def _part(self, split: str) -> Part:
        if split not in self._parts:
            raise ValueError(f"no split {split!r}; there are: {', '.join(self._parts)}")
        return self._parts[split]

    def _shuffled(self, *seeds: str | int) -> Tensor:
        indices = self._part("train").indices
        return indices[torch.randperm(len(indices), generator=derived_generator(*seeds))]

    def _read(
        self, split: str, batches: list[Tensor], *, draw: Draw | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self._part(split).images.read(batches, draw=draw):
            yield self._normalise(images), labels

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            _log.warning(text)
            self.warnings.append(text)
