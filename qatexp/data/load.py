"""From the configuration to `ImageData`: source, size, placement, split, normalisation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from qatexp.config.schema import DatasetConfig
from qatexp.data.call import call_source
from qatexp.data.geometry import GREY_MODES, Geometry, choose_geometry
from qatexp.data.image_data import ImageData, Part
from qatexp.data.images import Images
from qatexp.data.memory import MemoryImages
from qatexp.data.normalise import (
    Normaliser,
    configured_normalisation,
    conventional_normalisation,
)
from qatexp.data.opening import Opener
from qatexp.data.placement import choose_placement
from qatexp.data.samples import read_item
from qatexp.data.seeding import derived_generator
from qatexp.data.source import ImageTensors, Source
from qatexp.data.splits import stratified
from qatexp.errors import DataError

_log = logging.getLogger(__name__)
_details_log = logging.getLogger("qatexp.details")
"""Configured to go to the run's log file alone."""


def load_data(
    config: DatasetConfig,
    *,
    seed: int,
    device: torch.device,
    decoded_dir: Path | None,
    trusted: Sequence[str] = (),
) -> ImageData:
    """Load the data set that the configuration names.

    Mean and standard deviation are, in this order: the configuration's, the source's, measured on
    the training split (in memory) or a convention (streams: ImageNet's for RGB, 0.5 for grey).

    Args:
        config: checked.
        seed: of the generators in the workers of streams; neither of the split, which has
            ``dataset.split_seed``, nor of batches, which are told theirs.
        device: where batches go, and images in memory live if they fit.
        decoded_dir: where decoded folders are kept for the next run, and which files it need not
            read to know their content; None: nowhere.
        trusted: packages that the user trusts beside the built-in ones.

    Raises:
        ConfigError: keys exclude each other, or the source does not take them.
        DataError: the data are missing, empty, unreadable or inconsistent.
    """
    source = call_source(config, trusted=trusted)
    geometry = _geometry(source, config)
    opener = Opener(
        config=config,
        geometry=geometry,
        placement=choose_placement(source, geometry, config),
        seed=seed,
        device=device,
        decoded_dir=decoded_dir,
    )
    configured = configured_normalisation(config, channels=geometry.channels)
    images = opener.open_all(source)
    parts = _parts(images, config, opener)
    mean, std = configured or _normalisation(source, parts["train"], geometry)
    data = ImageData(
        config,
        classes=source.classes,
        geometry=geometry,
        placement=opener.placement,
        contents={name: opened.content for name, opened in images.items()},
        parts=parts,
        normalise=Normaliser(mean, std, device=device),
        warnings=opener.warnings,
    )
    _log.info("%s", _line(data))
    _details_log.info("data set %s", data.summary())
    return data


def _line(data: ImageData) -> str:
    """One line: ``digits: 1,294 train, 144 val, 359 test images of 1x8x8, 10 classes, ...``."""
    counts = ", ".join(f"{data.size(split):,} {split}" for split in ("train", "val", "test"))
    shape = "x".join(str(size) for size in (data.channels, *data.image_size))
    normal = data.preprocessing()
    mean, std = (" ".join(f"{v:.3f}" for v in normal[key]) for key in ("mean", "std"))
    classes = f"{len(data.classes):,} classes"
    return f"{data.name}: {counts} images of {shape}, {classes}, mean {mean}, std {std}"


def _geometry(source: Source, config: DatasetConfig) -> Geometry:
    if isinstance(source.train, ImageTensors):
        channels, height, width = source.train.images.shape[1:]
    else:
        image, _ = read_item(source.train, 0, split="train")
        channels = 1 if image.mode in GREY_MODES else 3
        height, width = image.height, image.width
    for name, split in source.splits().items():
        if isinstance(split, ImageTensors) and split.images.shape[1] != channels:
            raise DataError(
                f"the {name} split has {split.images.shape[1]} channels, the training images "
                f"have {channels}; let the data set return the same for both."
            )
    return choose_geometry(
        native=(channels, height, width),
        image_size=config.image_size,
        resize_size=config.resize_size,
    )


def _parts(images: dict[str, Images], config: DatasetConfig, opener: Opener) -> dict[str, Part]:
    """Divide the opened images: val is the source's own, or comes from the training images."""
    train = images["train"]
    everything = torch.arange(len(train.labels))
    parts = {"test": Part(images["test"], torch.arange(len(images["test"].labels)))}
    if "val" in images:
        kept = everything
        parts["val"] = Part(images["val"], torch.arange(len(images["val"].labels)))
    else:
        kept, held_out = stratified(
            train.labels, fraction=config.val_fraction, seed=config.split_seed
        )
        parts["val"] = Part(train, held_out)
        if config.val_fraction > 0 and len(held_out) == 0:
            opener.warn(
                f"dataset.val_fraction={config.val_fraction} of {len(everything)} training images "
                "leaves no validation image: no epoch can be selected"
            )
    parts["train"] = Part(train, kept)
    parts["calibration"] = Part(train, _in_drawn_order(kept, config.split_seed))
    return parts


def _in_drawn_order(indices: Tensor, seed: int) -> Tensor:
    generator = derived_generator("calibration split", seed)
    return indices[torch.randperm(len(indices), generator=generator)]


def _normalisation(
    source: Source, train: Part, geometry: Geometry
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if source.mean is not None and source.std is not None:
        if len(source.mean) != geometry.channels or len(source.std) != geometry.channels:
            raise DataError(
                f"the data set gives mean={source.mean} and std={source.std}; expected "
                f"{geometry.channels} values each, one for each channel of its images."
            )
        return source.mean, source.std
    if isinstance(train.images, MemoryImages):
        return train.images.statistics(train.indices)
    return conventional_normalisation(geometry.channels)
