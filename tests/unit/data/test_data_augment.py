"""Batched augmentation: a decision for each image, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from qatexp.config.schema import AugmentConfig
from qatexp.data.augment import CropEach, FlipEach, batch_augmentation


def batch(count: int = 64, side: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def test_flip_decides_for_each_image():
    images = batch()
    flipped = FlipEach(torch.Generator().manual_seed(0))(images)
    kept = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert torch.all(kept ^ mirrored)
    assert 16 < int(mirrored.sum()) < 48


def test_crop_cuts_another_window_of_the_padded_image_from_each():
    images = batch()
    cropped = CropEach(2, torch.Generator().manual_seed(0))(images)
    padded = torch.nn.functional.pad(images, [2] * 4)
    windows = {
        (top, left): padded[:, :, top : top + 6, left : left + 6]
        for top in range(5)
        for left in range(5)
    }
    used = set()
    for index, image in enumerate(cropped):
        matches = [corner for corner, all_ in windows.items() if torch.equal(all_[index], image)]
        assert len(matches) == 1
        used.add(matches[0])
    assert len(used) > 15


def test_images_are_not_changed_in_place():
    images = batch()
    before = images.clone()
    config = AugmentConfig(flip=True, crop_padding=2)
    batch_augmentation(config, torch.Generator().manual_seed(0))(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_generator_gives_the_same_images(seed: int):
    config = AugmentConfig(flip=True, crop_padding=2)
    first, second = (
        batch_augmentation(config, torch.Generator().manual_seed(seed))(batch()) for _ in range(2)
    )
    other = batch_augmentation(config, torch.Generator().manual_seed(seed + 1))(batch())
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_nothing_asked_for_changes_nothing():
    images = batch()
    assert batch_augmentation(AugmentConfig(), torch.Generator())(images) is images
