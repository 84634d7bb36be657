"""The size that all images are brought to, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from qatexp.errors import DataError

Picture = TypeVar("Picture", Image.Image, Tensor)

GREY_MODES = ("1", "L")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Final size of all images, and the way there.

    Attributes:
        height: of the final images, in pixels.
        width: of the final images, in pixels.
        channels: 1 (grey) or 3 (RGB) for PIL images; any number for tensors.
        resize: the shorter side is scaled to this many pixels before the centre crop; None: images
            have to be of the final size already.
    """

    height: int
    width: int
    channels: int
    resize: int | None = None

    def fit(self, image: Picture, *, where: str) -> Picture:
        """Resize (bilinear, antialiased) and crop one PIL image or a (..., C, H, W) uint8 tensor.

        Raises:
            DataError: the image has another size and ``dataset.image_size`` is not set.
        """
        height, width = picture_size(image)
        if self.resize is None and (height, width) != (self.height, self.width):
            raise DataError(
                f"{where} has {width}x{height} pixels, the first training image "
                f"{self.width}x{self.height}; set dataset.image_size, to which all images are then "
                "resized and cropped."
            )
        changed: Any = image
        if self.resize is not None and self.resize != min(height, width):
            changed = functional.resize(changed, [self.resize], antialias=True)
        if picture_size(changed) != (self.height, self.width):
            changed = functional.center_crop(changed, [self.height, self.width])
        return changed  # type: ignore[no-any-return]


def choose_geometry(
    *, native: tuple[int, int, int], image_size: int | None, resize_size: int | None
) -> Geometry:
    """Derive the geometry from the first training image and the configuration.

    Args:
        native: channels, height and width of the first training image.
        image_size: ``dataset.image_size``, the side of the final square; None: as they are.
        resize_size: ``dataset.resize_size``, the shorter side before the crop; None: that of the
            crop.
    """
    channels, height, width = native
    if image_size is None:
        return Geometry(height, width, channels)
    resize = image_size if resize_size is None else resize_size
    return Geometry(image_size, image_size, channels, resize)


def picture_size(image: Image.Image | Tensor) -> tuple[int, int]:
    """Return height and width, in pixels."""
    if isinstance(image, Tensor):
        return int(image.shape[-2]), int(image.shape[-1])
    return image.height, image.width


def converted(image: Image.Image, *, channels: int, where: str) -> Image.Image:
    """Convert a PIL image to grey (1 channel) or RGB (3 channels), decoding its file.

    Raises:
        DataError: the image has more than 8 bits per channel, or colours where grey is expected.
    """
    if image.mode.startswith(("I", "F")):  # PIL would clip these to 8 bits instead of scaling
        raise DataError(
            f"{where} has more than 8 bits per channel (PIL mode {image.mode}); "
            "convert it to an 8-bit file first."
        )
    if channels == 1 and image.mode not in GREY_MODES:
        raise DataError(
            f"{where} has colours (PIL mode {image.mode}) but the first training image is grey; "
            "let the data set return all of its images in one mode."
        )
    return image.convert("L" if channels == 1 else "RGB")
