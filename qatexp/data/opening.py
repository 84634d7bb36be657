"""Open the splits of a source as images in memory or as streams."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from qatexp.config.schema import DatasetConfig, Placement
from qatexp.data.decoding import decoded
from qatexp.data.fingerprint import tensors_digest
from qatexp.data.geometry import Geometry
from qatexp.data.images import Images
from qatexp.data.memory import MemoryImages, fitted
from qatexp.data.samples import Samples, TensorImages
from qatexp.data.source import ImageTensors, Source, Split, check_labels
from qatexp.data.stream import StreamImages

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Opener:
    """Opens splits, all in the same way, and collects warnings."""

    config: DatasetConfig
    geometry: Geometry
    placement: Placement
    seed: int
    device: torch.device
    decoded_dir: Path | None
    warnings: list[str] = field(default_factory=list)

    def open_all(self, source: Source) -> dict[str, Images]:
        """Open every split of a source and check its labels.

        Raises:
            DataError: an image cannot be read, sizes differ, or a label names no class.
        """
        opened = {name: self._open(name, split) for name, split in source.splits().items()}
        for name, images in opened.items():
            check_labels(images.labels, split=name, classes=len(source.classes))
        return opened

    def _open(self, name: str, split: Split) -> Images:
        return (
            self._memory(name, split)
            if self.placement is Placement.memory
            else self._stream(name, split)
        )

    def _memory(self, name: str, split: Split) -> MemoryImages:
        if isinstance(split, ImageTensors):
            tensors = fitted(split, self.geometry, name=name)
        else:
            samples = Samples(split, split=name, geometry=self.geometry)
            tensors = decoded(
                samples, name=self.config.name, folder=self.decoded_dir, warn=self.warn
            )
        return MemoryImages(tensors, augment=self.config.augment, device=self.device)

    def _stream(self, name: str, split: Split) -> StreamImages:
        if isinstance(split, ImageTensors):
            split = TensorImages(split, fingerprint=tensors_digest(split))
        return StreamImages(
            split,
            split=name,
            geometry=self.geometry,
            augment=self.config.augment,
            workers=self.config.workers,
            seed=self.seed,
            device=self.device,
            index=self.decoded_dir,
        )

    def warn(self, text: str) -> None:
        """Log that the result may differ from what was asked, and keep it for the record."""
        _log.warning(text)
        self.warnings.append(text)
