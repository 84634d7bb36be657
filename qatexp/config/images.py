"""How images are brought to their size, and normalized: keys of a data set that belong together."""

from __future__ import annotations

import math

from qatexp.config.schema import DatasetConfig
from qatexp.errors import ConfigError


def usual_resize(image_size: object) -> int | None:
    """Shorter side, in pixels, before the centre crop: 256 for 224, as networks are evaluated.

    Args:
        image_size: side of the crop; None where images stay as they are. Anything that is no size
            is refused elsewhere.
    """
    return round(image_size * 256 / 224) if isinstance(image_size, int) else None


def check_images(dataset: DatasetConfig) -> None:
    """Check sizes and normalization.

    Raises:
        ConfigError: for the first key that does not fit.
    """
    _check_sizes(dataset.image_size, dataset.resize_size)
    _check_normalization(dataset)


def _check_sizes(image_size: int | None, resize_size: int | None) -> None:
    if resize_size is None:
        return
    if image_size is None:
        raise ConfigError(
            f"dataset.resize_size={resize_size} needs dataset.image_size, the side of the "
            "centre crop that follows; set it too."
        )
    if resize_size < image_size:
        raise ConfigError(
            f"dataset.resize_size={resize_size} is smaller than dataset.image_size={image_size}; "
            "allowed: at least the image size, from which the crop is taken."
        )


def _check_normalization(dataset: DatasetConfig) -> None:
    std = dataset.std
    if std is not None and any(value <= 0 or not math.isfinite(value) for value in std):
        raise ConfigError(f"dataset.std={std} is not possible; allowed: finite numbers above 0.")
    mean = dataset.mean
    if mean is not None and not all(math.isfinite(value) for value in mean):
        raise ConfigError(f"dataset.mean={mean} is not possible; allowed: finite numbers.")
