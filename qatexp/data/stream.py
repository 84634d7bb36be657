"""Images of one split that are read anew every epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from qatexp.config.schema import AugmentConfig
from qatexp.data.augment import SampleAugmentation
from qatexp.data.decoding import read_all
from qatexp.data.fingerprint import combined, content_digest, tensors_digest
from qatexp.data.geometry import Geometry
from qatexp.data.images import Draw
from qatexp.data.samples import Batch, Key, SampleReader, Samples
from qatexp.data.seeding import derived_seed
from qatexp.data.source import ImageTensors

_log = logging.getLogger(__name__)


class StreamImages:
    """`Images` that worker processes read, resize and augment while the model trains.

    Args:
        dataset: map-style, of (PIL image, int).
        split: its name, for messages.
        geometry: final size.
        augment: random changes when training.
        workers: number of worker processes; 0 reads in this one. It changes no image.
        seed: of the workers' own generators, which only users' Datasets can draw from.
        device: where batches go.
        index: folder that tells which files have been read to know their content; None: all are.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        split: str,
        geometry: Geometry,
        augment: AugmentConfig,
        workers: int,
        seed: int,
        device: torch.device,
        index: Path | None,
    ) -> None:
        self._samples = Samples(
            dataset, split=split, geometry=geometry, augment=SampleAugmentation(augment, geometry)
        )
        self._workers, self._seed, self._device = workers, seed, device
        self._training: SampleReader | None = None
        self.labels, self.content = _labels_and_content(self._samples, index)

    def read(self, batches: Sequence[Tensor], *, draw: Draw | None) -> Iterator[Batch]:
        """See `Images.read`; an image's augmentation depends on seed, epoch and index alone."""
        keys = [[_key(index, draw) for index in batch.tolist()] for batch in batches]
        for images, labels in self._reader(len(batches), training=draw is not None).read(keys):
            yield (
                images.to(self._device, non_blocking=True),
                labels.to(self._device, non_blocking=True),
            )

    def _reader(self, batches: int, *, training: bool) -> SampleReader:
        if training and self._training is not None:
            return self._training
        reader = SampleReader(
            self._samples,
            # Starting processes for a single batch takes longer than reading it.
            workers=self._workers if training or batches > 1 else 0,
            seed=self._seed,
            pin=self._device.type == "cuda",
            persistent=training,
        )
        if training:
            self._training = reader
        return reader


def _key(index: int, draw: Draw | None) -> Key:
    return index, None if draw is None else derived_seed(draw.seed, draw.epoch, index)


def _labels_and_content(samples: Samples, index: Path | None) -> tuple[Tensor, str]:
    """Take what the Dataset offers; otherwise read it once in full."""
    targets = getattr(samples.dataset, "targets", None)
    content = content_digest(samples.dataset, index=index)
    if targets is not None and content is not None:
        labels = torch.as_tensor(targets, dtype=torch.int64)
        return labels, combined(content=content, labels=labels.tolist())
    _log.info(
        "reading the %s split once in full: its Dataset has no `targets` and `fingerprint`",
        samples.split,
    )
    digests, parts = [], []
    for images, labels in read_all(samples):
        digests.append(tensors_digest(ImageTensors(images, labels)))
        parts.append(labels)
    return torch.cat(parts), combined(images=digests)
