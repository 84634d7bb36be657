"""Images of one split in memory, on the device where they fit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from qatexp.config.schema import AugmentConfig
from qatexp.data.augment import batch_augmentation
from qatexp.data.fingerprint import tensors_digest
from qatexp.data.geometry import Geometry
from qatexp.data.images import Draw
from qatexp.data.samples import Batch
from qatexp.data.seeding import derived_generator
from qatexp.data.source import ImageTensors

_log = logging.getLogger(__name__)

CHUNK = 1024
GPU_SHARE = 4
"""Images may take one part in so many of the free memory of a GPU: training needs the rest."""


class MemoryImages:
    """`Images` that are held as one uint8 tensor."""

    def __init__(
        self, split: ImageTensors, *, augment: AugmentConfig, device: torch.device
    ) -> None:
        self.labels = split.labels
        self.content = tensors_digest(split)
        self._augment = augment
        self._device = device
        home = device if _fits(split.images, device) else torch.device("cpu")
        self._images = split.images.to(home)
        self._home_labels = split.labels.to(home)

    def read(self, batches: Sequence[Tensor], *, draw: Draw | None) -> Iterator[Batch]:
        """See `Images.read`; the same draw gives the same images, bit for bit, on every device."""
        augment = None
        if draw is not None:
            generator = derived_generator("augmentation", draw.seed, draw.epoch, draw.rank)
            augment = batch_augmentation(self._augment, generator)
        for batch in batches:
            indices = batch.to(self._images.device, non_blocking=True)
            images = self._images.index_select(0, indices).to(self._device)
            labels = self._home_labels.index_select(0, indices).to(self._device)
            yield images if augment is None else augment(images), labels

    def statistics(self, indices: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Measure mean and standard deviation per channel, of the given images scaled to 0..1.

        Sums are of integers and therefore the same in any order, on any device.
        """
        channels = self._images.shape[1]
        total = torch.zeros(channels, dtype=torch.int64)
        squares = torch.zeros(channels, dtype=torch.int64)
        for chunk in torch.split(indices, CHUNK):
            images = self._images.index_select(0, chunk.to(self._images.device)).to(torch.int32)
            total += images.sum(dim=(0, 2, 3), dtype=torch.int64).cpu()
            squares += images.square().sum(dim=(0, 2, 3), dtype=torch.int64).cpu()
        pixels = len(indices) * self._images.shape[2] * self._images.shape[3]
        mean = total.double() / pixels
        # A channel without any contrast would be divided by 0; one grey level is the least step.
        std = (squares.double() / pixels - mean.square()).clamp_min(0).sqrt().clamp_min(1)
        return _rounded(mean / 255), _rounded(std / 255)


def fitted(split: ImageTensors, geometry: Geometry, *, name: str) -> ImageTensors:
    """Bring tensors to the final size, a part at a time.

    Raises:
        DataError: they have another size and ``dataset.image_size`` is not set.
    """
    parts = [
        geometry.fit(chunk, where=f"the {name} split") for chunk in torch.split(split.images, CHUNK)
    ]
    return ImageTensors(torch.cat(parts).contiguous(), split.labels)


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    fits = images.nbytes * GPU_SHARE <= free
    if not fits:
        _log.info(
            "%.0f MB of images stay in CPU memory: %.0f MB are free on %s",
            images.nbytes / 1e6,
            free / 1e6,
            device,
        )
    return fits


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values.tolist())
