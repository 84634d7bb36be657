"""Batches of a loaded data set: splits, order, slices, calibration, fingerprint."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from qatexp.config.schema import AugmentConfig, Placement
from qatexp.data import ImageData, memory
from qatexp.errors import ConfigError, DataError

AUGMENT = AugmentConfig(flip=True, crop_padding=1)
SMALL: dict[str, Any] = {
    "batch_size": 8,
    "eval_batch_size": 16,
    "val_fraction": 0.25,
    "workers": 0,
    "image_size": 6,
    "options": {"images": 40, "test_images": 20, "num_classes": 4},
}


def small(load: Any, **keys: Any) -> ImageData:
    loaded = load("synthetic", **{**SMALL, **keys})
    assert isinstance(loaded, ImageData)
    return loaded


def images_of(batches: Any) -> torch.Tensor:
    return torch.cat([images for images, _ in batches])


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_splits_do_not_overlap_and_have_the_asked_sizes(load: Any):
    data = small(load)
    train, val = (rows(images_of(data.eval_batches(split))) for split in ("train", "val"))
    assert [data.size(split) for split in ("train", "val", "test", "calibration")] == [
        30,
        10,
        20,
        30,
    ]
    assert len(train) == 30
    assert not train & val


def test_batches_are_contiguous_normalised_floats(load: Any):
    data = small(load, augment=AUGMENT)
    for images, labels in data.train_batches(epoch=0, seed=0):
        assert images.dtype == torch.float32
        assert images.shape == (8, 3, 6, 6)
        assert images.is_contiguous()
        assert labels.dtype == torch.int64
    everything = images_of(data.eval_batches("train"))
    # Measured on just these images; the record's six digits leave an error of that size.
    torch.testing.assert_close(everything.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        everything.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0
    )


def test_configured_normalisation_wins(load: Any):
    data = small(load, mean=[0.5, 0.25, 0.0], std=[0.5, 1.0, 2.0])
    plain = small(load, mean=[0.0] * 3, std=[1.0] * 3)
    images, scaled = data.example(4), plain.example(4)
    mean, std = torch.tensor([0.5, 0.25, 0.0]), torch.tensor([0.5, 1.0, 2.0])
    expected = (scaled - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(images, expected)
    assert data.summary()["mean"] == [0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"mean": [0.5] * 3}, r"^dataset\.std is not set; dataset\.mean and dataset\.std belong"),
        ({"mean": [0.5], "std": [1.0]}, r"^dataset\.mean=\[0\.5\] has 1 values; allowed: 3"),
        (
            {"mean": [0.5] * 3, "std": [0.0] * 3},
            r"^dataset\.std=.* is not possible; allowed: above",
        ),
    ],
    ids=["alone", "length", "zero"],
)
def test_impossible_normalisation(load: Any, keys: dict[str, Any], text: str):
    with pytest.raises(ConfigError, match=text):
        small(load, **keys)


@pytest.mark.parametrize("placement", [Placement.memory, Placement.stream])
def test_an_epoch_repeats_bit_for_bit_and_epochs_differ(load: Any, placement: Placement):
    data = small(load, augment=AUGMENT, placement=placement)
    first = images_of(data.train_batches(epoch=0, seed=0))
    assert torch.equal(first, images_of(data.train_batches(epoch=0, seed=0)))
    assert not torch.equal(first, images_of(data.train_batches(epoch=1, seed=0)))
    assert not torch.equal(first, images_of(data.train_batches(epoch=0, seed=1)))


@pytest.mark.parametrize("placement", [Placement.memory, Placement.stream])
def test_batches_leave_the_global_random_numbers_alone(load: Any, placement: Placement):
    data = small(load, augment=AUGMENT, placement=placement)
    before = torch.get_rng_state()
    images_of(data.train_batches(epoch=0, seed=0))
    images_of(data.eval_batches("test"))
    assert torch.equal(before, torch.get_rng_state())


def test_an_epoch_shows_every_image_at_most_once_in_full_batches(load: Any):
    data = small(load)
    batches = [images for images, _ in data.train_batches(epoch=0, seed=0)]
    assert data.steps_per_epoch() == 3
    assert [len(images) for images in batches] == [8, 8, 8]
    assert len(rows(torch.cat(batches))) == 24


def test_a_limit_ends_the_epoch_early_with_the_same_batches(load: Any):
    data = small(load)
    full = images_of(data.train_batches(epoch=0, seed=0))
    assert torch.equal(full[:8], images_of(data.train_batches(epoch=0, seed=0, limit=1)))


@pytest.mark.parametrize("placement", [Placement.memory, Placement.stream])
def test_ranks_get_equal_slices_of_each_global_batch(load: Any, placement: Placement):
    data = small(load, placement=placement)
    whole = [images for images, _ in data.train_batches(epoch=3, seed=1)]
    slices = [
        [images for images, _ in data.train_batches(epoch=3, seed=1, rank=rank, world_size=2)]
        for rank in range(2)
    ]
    for images, low, high in zip(whole, *slices, strict=True):
        assert torch.equal(images, torch.cat([low, high]))


def test_a_batch_that_cannot_be_divided_is_refused(load: Any):
    with pytest.raises(ConfigError, match=r"^dataset\.batch_size=8 cannot be divided by trainer\."):
        small(load).train_batches(epoch=0, seed=0, world_size=3)


def test_a_batch_larger_than_the_training_split_is_named(load: Any):
    data = small(load, batch_size=64)
    with pytest.raises(DataError, match=r"^dataset\.batch_size=64 is more than the 30 training"):
        data.steps_per_epoch()
    with pytest.raises(DataError, match=r"^dataset\.batch_size=64"):
        data.calibration_batches(1, seed=0)


def test_no_validation_split(load: Any):
    data = small(load, val_fraction=0.0)
    assert (data.size("train"), data.size("val")) == (40, 0)
    assert list(data.eval_batches("val")) == []
    assert data.warnings == []


def test_a_fraction_that_leaves_nothing_is_recorded(load: Any):
    data = small(load, val_fraction=0.01)
    assert data.size("val") == 0
    assert data.warnings == [
        "dataset.val_fraction=0.01 of 40 training images leaves no validation image: "
        "no epoch can be selected"
    ]


def test_calibration_images_are_disjoint_training_images(load: Any):
    data = small(load, augment=AUGMENT)
    train = rows(images_of(data.eval_batches("train")))
    batches = list(data.calibration_batches(3, seed=0))
    drawn = rows(torch.cat(batches))
    assert len(batches) == 3
    assert len(drawn) == 24
    assert drawn <= train
    assert rows(torch.cat(list(data.calibration_batches(3, seed=1)))) != drawn
    assert data.warnings == []


def test_too_few_calibration_images_are_logged_and_recorded_once(load: Any, caplog: Any):
    data = small(load)
    caplog.clear()
    for _ in range(2):
        data.tell_of_few(3, key="qconfig.calibration.batches")
        data.tell_of_few(5, key="schedule.qat.reestimate_bn")
    assert len(list(data.calibration_batches(5, seed=0))) == 3
    assert data.warnings == [
        "schedule.qat.reestimate_bn=5 of 8 images are 40, but there are only 30 training images: "
        "using 3 batches"
    ]
    assert caplog.messages == data.warnings


def test_the_calibration_split_is_the_training_split_in_another_order(load: Any):
    data = small(load)
    train, calibration = (images_of(data.eval_batches(split)) for split in ("train", "calibration"))
    assert rows(train) == rows(calibration)
    assert not torch.equal(train, calibration)


def test_an_example_repeats_images_where_there_are_too_few(load: Any):
    assert small(load).example(70).shape == (70, 3, 6, 6)
    assert torch.equal(small(load).example(2), next(small(load).eval_batches("train"))[0][:2])


def test_an_unknown_split_is_a_programmers_error(load: Any):
    with pytest.raises(ValueError, match=r"no split 'dev'; there are: test, val, train"):
        small(load).eval_batches("dev")


@pytest.mark.parametrize(
    ("keys", "same"),
    [
        ({"batch_size": 4, "eval_batch_size": 5, "workers": 1, "augment": AUGMENT}, True),
        ({"split_seed": 1}, False),
        ({"val_fraction": 0.5}, False),
        ({"image_size": 5}, False),
        ({"resize_size": 7}, False),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, False),
        ({"options": {**SMALL["options"], "data_seed": 1}}, False),
    ],
    ids=["batches", "split_seed", "val_fraction", "image_size", "resize_size", "mean", "images"],
)
def test_the_fingerprint_follows_content_split_and_preprocessing(
    load: Any, keys: dict[str, Any], same: bool
):
    assert (small(load).fingerprint == small(load, **keys).fingerprint) is same


def test_the_summary_is_what_the_record_says(load: Any):
    data = load("digits")
    summary = data.summary()
    assert summary | {"mean": 0, "std": 0, "fingerprint": 0, "test_fingerprint": 0} == {
        "name": "digits",
        "classes": 10,
        "class_names": list("0123456789"),
        "train": 1294,
        "val": 144,
        "test": 359,
        "split_seed": 0,
        "fingerprint": 0,
        "test_fingerprint": 0,
        "placement": "memory",
        "mean": 0,
        "std": 0,
    }
    assert summary["fingerprint"] == data.fingerprint
    assert len(data.fingerprint) == 64
    assert summary["mean"] == pytest.approx([0.3053], abs=5e-3)


def test_images_of_two_channels_cannot_be_streamed(load: Any):
    options = {**SMALL["options"], "channels": 2}
    assert small(load, options=options).example().shape == (2, 2, 6, 6)
    with pytest.raises(ConfigError, match=r"would stream images of 2 channels; allowed: 1 or 3"):
        small(load, options=options, placement=Placement.stream)


def test_images_in_memory_are_resized_too(load: Any):
    data = load("digits", image_size=16, batch_size=8)
    assert data.image_size == (16, 16)
    assert data.example().shape == (2, 1, 16, 16)


@pytest.mark.parametrize(("free", "fits"), [(4000, True), (3999, False)])
def test_images_go_to_a_gpu_only_if_they_leave_room(
    monkeypatch: pytest.MonkeyPatch, free: int, fits: bool
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10_000))
    images = torch.zeros(1000, dtype=torch.uint8)
    assert memory._fits(images, torch.device("cuda")) is fits


def test_the_log_describes_the_data_in_one_line(load: Any, caplog: Any):
    with caplog.at_level(logging.INFO):
        data = load("digits", val_fraction=0.1)
    (line,) = (item for item in caplog.records if item.name == "qatexp.data.load")
    assert line.getMessage() == (
        "digits: 1,294 train, 144 val, 359 test images of 1x8x8, 10 classes, mean 0.306, std 0.376"
    )
    (details,) = (item for item in caplog.records if item.name == "qatexp.details")
    assert data.fingerprint in details.getMessage()
