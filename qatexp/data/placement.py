"""Where images live: in memory, decoded once, or read anew every epoch."""

from __future__ import annotations

from qatexp.config.schema import DatasetConfig, Placement
from qatexp.data.geometry import Geometry
from qatexp.data.source import ImageTensors, Source, split_length
from qatexp.errors import ConfigError


def choose_placement(source: Source, geometry: Geometry, config: DatasetConfig) -> Placement:
    """Choose memory or stream; ``auto`` is memory if all images fit in the limit.

    Raises:
        ConfigError: the wanted placement cannot be had.
    """
    chosen = config.placement
    if chosen is Placement.auto:
        small = decoded_bytes(source, geometry) <= config.memory_limit_mb * 1_000_000
        only_stream = config.augment.random_resized_crop
        chosen = Placement.memory if small and not only_stream else Placement.stream
    if chosen is Placement.memory and config.augment.random_resized_crop:
        raise ConfigError(
            "dataset.placement=memory excludes dataset.augment.random_resized_crop=true, which "
            "starts from the full-size images; set dataset.placement=stream (or auto)."
        )
    if chosen is Placement.stream and isinstance(source.train, ImageTensors):
        _check_streamable(geometry, config)
    return chosen


def decoded_bytes(source: Source, geometry: Geometry) -> int:
    """Return the size of all images as uint8 of the final size."""
    count = sum(split_length(split) for split in source.splits().values())
    return count * geometry.channels * geometry.height * geometry.width


def _check_streamable(geometry: Geometry, config: DatasetConfig) -> None:
    if geometry.channels not in (1, 3):
        raise ConfigError(
            f"dataset.placement={config.placement.value} would stream images of "
            f"{geometry.channels} channels; allowed: 1 or 3. Set dataset.placement=memory (and "
            "dataset.memory_limit_mb to suit)."
        )
