from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qatexp.config.schema import DatasetConfig
from qatexp.data import ImageData, load_data

MakeFolders = Callable[..., Path]
Load = Callable[..., ImageData]


def config_for(source: str, **keys: Any) -> DatasetConfig:
    return DatasetConfig(target=f"qatexp.data.sources.{source}", **keys)


@pytest.fixture
def load() -> Load:
    """Load one of the built-in sources on the CPU."""

    def load_source(source: str, decoded_dir: Path | None = None, **keys: Any) -> ImageData:
        return load_data(
            config_for(source, **keys),
            seed=0,
            device=torch.device("cpu"),
            decoded_dir=decoded_dir,
        )

    return load_source


@pytest.fixture
def make_folders(tmp_path: Path) -> MakeFolders:
    """Write image folders: `count` images of `size` (width, height) for each split and class."""

    def write(
        *,
        splits: tuple[str, ...] = ("train", "test"),
        classes: tuple[str, ...] = ("cat", "dog"),
        count: int = 6,
        size: tuple[int, int] = (8, 8),
        mode: str = "RGB",
        suffix: str = "png",
    ) -> Path:
        root = tmp_path / "images"
        draw = np.random.default_rng(0)
        for split in splits:
            for name in classes:
                folder = root / split / name
                folder.mkdir(parents=True)
                for index in range(count):
                    pixels = draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                    image = Image.fromarray(pixels).convert(mode)
                    image.save(folder / f"{index:03}.{suffix}")
        return root

    return write
