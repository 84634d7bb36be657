"""Image folders: one folder for each class, listed once, read image by image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from qatexp.data.geometry import converted
from qatexp.data.source import LabelledImages
from qatexp.errors import DataError

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for files that are damaged, no images, or too large."""


class FolderImages(LabelledImages):
    """Images of ``folder/<class>/**``, as (RGB image, index of the class in `classes`).

    Attributes:
        root: the folder.
        classes: names of the class folders, sorted.
        paths: files in the order of the indices.
        targets: the label of each file.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.classes = class_names(folder)
        self.paths: list[str] = []
        self.targets: list[int] = []
        for label, name in enumerate(self.classes):
            found = sorted(_image_files(folder / name))
            if not found:
                raise DataError(
                    f"the class folder {folder / name} holds no images; remove it or fill it "
                    f"(read are {', '.join(IMG_EXTENSIONS)})."
                )
            self.paths += found
            self.targets += [label] * len(found)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Read one image.

        Raises:
            DataError: naming the file that cannot be read.
        """
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                return converted(image, channels=3, where=path), self.targets[index]
        except UNREADABLE as problem:
            raise DataError(f"{not_an_image(path, problem)} Replace or remove it.") from problem


def not_an_image(path: str, problem: Exception) -> str:
    """Say that a file is no image, and what the library says of it."""
    return f"{path} cannot be read as an image: {problem}."


def header_problem(path: str) -> str | None:
    """What is wrong with the beginning of an image file, without decoding it; None: nothing."""
    try:
        with Image.open(path):
            return None
    except UNREADABLE as problem:
        return not_an_image(path, problem)


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the class folders; hidden ones are not classes.

    Raises:
        DataError: the folder cannot be read or has no class folder.
    """
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as problem:
        raise DataError(f"the folder {folder} cannot be read: {problem.strerror}.") from problem
    names = sorted(entry.name for entry in entries if entry.is_dir())
    if not names:
        raise DataError(
            f"{folder} has no class folder; expected {folder}/<class>/ with the images of each "
            "class."
        )
    return tuple(names)


def _image_files(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name.lower().endswith(IMG_EXTENSIONS) and not name.startswith("."):
                yield os.path.join(parent, name)  # noqa: PTH118 - Path objects double the time of 60,000 files
