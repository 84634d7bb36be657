"""Anybody's image folders: ``root/{train,val|test}/<class>/*``, any size, any number of classes."""

from __future__ import annotations

from pathlib import Path

from qatexp.config.layout import LAYOUT, layout_problem
from qatexp.data.folders import FolderImages, class_names
from qatexp.data.source import Source
from qatexp.errors import ConfigError, DataError


def imagefolder(*, root: str | None = None) -> Source:
    """Give the images of ``root/train`` and ``root/test``; grey and RGBA images become RGB.

    Without ``root/test`` the images of ``root/val`` report. Where both exist, ``root/val`` is the
    validation split, and ``dataset.val_fraction`` does not apply.

    Args:
        root: folder that holds train and test (or val), each with one folder for each class.

    Raises:
        ConfigError: root is not given.
        DataError: a folder is missing, empty or has other classes than ``root/train``.
    """
    if root is None:
        raise ConfigError(f"dataset.root is not set; point it at a folder with {LAYOUT}.")
    return folder_source(Path(root).expanduser())


def folder_source(root: Path) -> Source:
    """List the folders below `root`, as `imagefolder`.

    Raises:
        DataError: see `imagefolder`.
    """
    _check_layout(root)
    names = [name for name in ("test", "val") if (root / name).is_dir()]
    classes = class_names(root / "train")
    for name in names:
        _check_same_classes(classes, root=root, name=name)
    return Source(
        train=FolderImages(root / "train"),
        test=FolderImages(root / names[0]),
        val=FolderImages(root / "val") if len(names) == 2 else None,
        classes=classes,
    )


def _check_layout(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"dataset.root={root} is not a folder; point it at a folder with {LAYOUT}.")
    if not any(root.iterdir()):
        raise DataError(f"dataset.root={root} is empty; expected {LAYOUT}.")
    if (problem := layout_problem(root)) is not None:
        raise DataError(f"dataset.root={root} {problem}.")


def _check_same_classes(classes: tuple[str, ...], *, root: Path, name: str) -> None:
    others = class_names(root / name)
    only_train = sorted(set(classes) - set(others))
    only_other = sorted(set(others) - set(classes))
    if only_train or only_other:
        raise DataError(
            f"{root / 'train'} and {root / name} have different classes; "
            f"only in train: {', '.join(only_train) or 'none'}; "
            f"only in {name}: {', '.join(only_other) or 'none'}."
        )
