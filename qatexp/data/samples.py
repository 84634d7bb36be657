"""Read single images of a Dataset into uint8 batches, by worker processes where it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from qatexp.data.folders import FolderImages
from qatexp.data.geometry import Geometry, converted
from qatexp.data.seeding import derived_seed
from qatexp.data.source import EXPECTED, ImageTensors, LabelledImages
from qatexp.errors import DataError

Key = tuple[int, int | None]
"""Index of an image, and the seed of its augmentation; None: not augmented."""

Batch = tuple[Tensor, Tensor]
"""uint8 images of shape (B, C, H, W) and int64 labels of shape (B,)."""


class TensorImages(LabelledImages):
    """`ImageTensors` as a Dataset of (PIL image, int), for streams."""

    def __init__(self, split: ImageTensors, fingerprint: str) -> None:
        self.split = split
        self.targets: list[int] = split.labels.tolist()
        self.fingerprint = fingerprint

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Return one image, grey or RGB."""
        return functional.to_pil_image(self.split.images[index]), self.targets[index]


def read_item(dataset: Dataset[Any], index: int, *, split: str) -> tuple[Image.Image, int]:
    """Read one item and check that it is (PIL image, int).

    Raises:
        DataError: it is something else, or cannot be read.
    """
    try:
        item = dataset[index]
    except (OSError, Image.DecompressionBombError) as problem:
        raise DataError(
            f"{described(dataset, index, split)} cannot be read: {problem}."
        ) from problem
    match item:
        case (Image.Image() as image, label):
            return image, int(label)
    found = ", ".join(type(part).__name__ for part in item) if isinstance(item, tuple) else item
    raise DataError(f"{described(dataset, index, split)} is ({found}); {EXPECTED}.")


def described(dataset: Dataset[Any], index: int, split: str) -> str:
    """Name an image in messages: its file, if it has one."""
    if isinstance(dataset, FolderImages):
        return dataset.paths[index]
    return f"image {index} of the {split} split"


class Samples(Dataset[tuple[Tensor, int] | DataError]):
    """A Dataset of (PIL image, int) as (uint8 tensor, int) of one size, addressed by `Key`.

    A sample's seed is its own, so that its augmentation depends neither on the number of workers
    nor on which of them reads it.
    """

    def __init__(
        self,
        dataset: Dataset[tuple[Image.Image, int]],
        *,
        split: str,
        geometry: Geometry,
        augment: Callable[..., Tensor] | None = None,
    ) -> None:
        self.dataset, self.split = dataset, split
        self.geometry, self.augment = geometry, augment

    def __getitem__(self, key: Key) -> tuple[Tensor, int] | DataError:
        """Read one sample; an error is returned, because a worker would bury it in tracebacks."""
        index, seed = key
        try:
            image, label = read_item(self.dataset, index, split=self.split)
            where = described(self.dataset, index, self.split)
            image = self._converted(image, where)
            if seed is None or self.augment is None:
                return functional.pil_to_tensor(self.geometry.fit(image, where=where)), label
            return self._augmented(image, seed, where), label
        except DataError as problem:
            return problem

    def _converted(self, image: Image.Image, where: str) -> Image.Image:
        try:
            return converted(image, channels=self.geometry.channels, where=where)
        except OSError as problem:  # a user's Dataset may leave decoding to us
            raise DataError(f"{where} cannot be read: {problem}.") from problem

    def _augmented(self, image: Image.Image, seed: int, where: str) -> Tensor:
        assert self.augment is not None
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(seed)
        try:
            return self.augment(image, where=where)
        finally:
            torch.default_generator.set_state(before)


class SampleReader:
    """Reads batches of `Samples`; with `persistent`, its workers live on between passes."""

    def __init__(
        self,
        samples: Samples,
        *,
        workers: int,
        seed: int,
        pin: bool = False,
        persistent: bool = False,
    ) -> None:
        self._plan = _Plan()
        self._passes = 0
        # A generator of its own: DataLoader would otherwise draw from torch's default generator
        # and so change the random numbers of the training beside it.
        self._loader: DataLoader[Any] = DataLoader(
            samples,
            batch_sampler=self._plan,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=pin,
            persistent_workers=persistent and workers > 0,
            generator=torch.Generator().manual_seed(derived_seed("workers", seed)),
        )

    def read(self, batches: list[list[Key]]) -> Iterator[Batch]:
        """Read the given batches in order.

        Raises:
            DataError: an image cannot be read or has another size than expected.
        """
        self._passes += 1
        current = self._passes
        self._plan.batches = batches
        for batch in self._loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
            if self._passes != current:
                raise RuntimeError("a new pass over the images began before this one ended")


class _Plan:
    """The batch sampler of a `SampleReader`: the keys of the pass to come."""

    def __init__(self) -> None:
        self.batches: list[list[Key]] = []

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _collate(samples: list[tuple[Tensor, int] | DataError]) -> Batch | DataError:
    images, labels = [], []
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
        images.append(sample[0])
        labels.append(sample[1])
    return torch.stack(images), torch.tensor(labels, dtype=torch.int64)
