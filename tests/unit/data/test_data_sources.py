"""The built-in sources: what they give, and what they say when files are missing."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision.datasets

from qatexp.data import ImageTensors
from qatexp.data.folders import FolderImages
from qatexp.data.source import split_length
from qatexp.data.sources import cifar10, cifar100, digits, fashion_mnist, imagefolder, synthetic
from qatexp.errors import ConfigError, DataError

CIFAR_CLASSES = tuple(f"class{index}" for index in range(10))


def tensors(split: Any) -> ImageTensors:
    assert isinstance(split, ImageTensors)
    return split


def test_digits_are_split_by_class_and_scaled_to_full_brightness():
    source = digits()
    train, test = tensors(source.train), tensors(source.test)
    assert (len(train.images), len(test.images)) == (1438, 359)
    assert train.images.shape[1:] == (1, 8, 8)
    assert (int(train.images.min()), int(train.images.max())) == (0, 255)
    assert source.classes == tuple("0123456789")
    shares = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert torch.all((shares - 0.2).abs() < 0.01)


def test_digits_take_other_test_images_for_another_seed():
    assert torch.equal(tensors(digits().test).images, tensors(digits().test).images)
    other = tensors(digits(test_seed=1).test)
    assert not torch.equal(tensors(digits().test).images, other.images)


def test_synthetic_images_have_the_asked_sizes_and_repeat_by_seed():
    keys: dict[str, Any] = {"num_classes": 3, "channels": 2, "images": 10, "test_images": 7}
    source = synthetic(**keys, image_size=12)
    assert tensors(source.train).images.shape == (10, 2, 12, 12)
    assert tensors(source.test).images.shape == (7, 2, 12, 12)
    assert source.classes == ("0", "1", "2")
    again = synthetic(**keys, image_size=12)
    assert torch.equal(tensors(source.train).images, tensors(again.train).images)
    other = synthetic(**keys, image_size=12, data_seed=1)
    assert not torch.equal(tensors(source.train).images, tensors(other.train).images)


def test_synthetic_classes_can_be_learned():
    """The nearest class mean of the training images classifies the test images."""
    source = synthetic(num_classes=4, images=200, test_images=100)
    train, test = tensors(source.train), tensors(source.test)
    means = torch.stack([train.images[train.labels == label].float().mean(0) for label in range(4)])
    distances = torch.cdist(test.images.float().flatten(1), means.flatten(1))
    assert (distances.argmin(1) == test.labels).float().mean() > 0.95


@pytest.mark.parametrize(
    "source", [cifar10, cifar100, fashion_mnist, imagefolder], ids=lambda source: source.__name__
)
def test_a_missing_root_is_a_configuration_error(source: Any):
    with pytest.raises(ConfigError, match=r"^dataset\.root is not set; point it at"):
        source(root=None)


@pytest.mark.parametrize(
    ("source", "looked_for"),
    [
        (cifar10, r"cifar-10-batches-py/ \(torchvision's layout\) and train/<class>/"),
        (cifar100, "cifar-100-python/"),
        (fashion_mnist, "FashionMNIST/raw/"),
    ],
    ids=["cifar10", "cifar100", "fashion_mnist"],
)
def test_missing_files_say_where_and_for_what_was_looked(
    source: Any, looked_for: str, tmp_path: Path
):
    with pytest.raises(DataError, match=looked_for) as caught:
        source(root=str(tmp_path))
    text = str(caught.value)
    assert f"dataset.root={tmp_path}" in text
    assert "Set dataset.download=true to fetch it, or point dataset.root at" in text


def test_a_failed_download_gives_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_network(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", no_network)
    with pytest.raises(DataError, match=r"CIFAR10 could not be downloaded .*no route to host"):
        cifar10(root=str(tmp_path), download=True)


def test_cifar_arrays_become_channels_first_tensors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pixels = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    opened: list[dict[str, Any]] = []

    def open_split(folder: Path, **keys: Any) -> SimpleNamespace:
        opened.append({"folder": folder, **keys})
        return SimpleNamespace(data=pixels, targets=[1, 0], classes=["a", "b"])

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", open_split)
    source = cifar100(root=str(tmp_path), download=True)
    train = tensors(source.train)
    assert train.images.shape == (2, 3, 4, 4)
    assert train.images.is_contiguous()
    assert train.images[1, 2, 3, 0] == pixels[1, 3, 0, 2]
    assert train.labels.tolist() == [1, 0]
    assert source.classes == ("a", "b")
    assert [item["train"] for item in opened] == [True, False]
    assert all(item["download"] for item in opened)


def test_fashion_mnist_gets_a_channel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    split = SimpleNamespace(
        data=torch.zeros(3, 28, 28, dtype=torch.uint8),
        targets=torch.tensor([0, 1, 1]),
        classes=["shirt", "shoe"],
    )
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", lambda *_, **__: split)
    assert tensors(fashion_mnist(root=str(tmp_path)).train).images.shape == (3, 1, 28, 28)


@pytest.mark.parametrize("reporting", ["test", "val"])
def test_cifar10_reads_image_folders_where_it_finds_them(make_folders: Any, reporting: str):
    root = make_folders(splits=("train", reporting), classes=CIFAR_CLASSES, count=1)
    source = cifar10(root=str(root))
    assert isinstance(source.train, FolderImages)
    assert source.classes == CIFAR_CLASSES
    assert source.val is None


def test_cifar10_refuses_folders_of_something_else(make_folders: Any):
    with pytest.raises(DataError, match=r"of 2 classes, CIFAR-10 has 10; .*dataset=imagefolder"):
        cifar10(root=str(make_folders()))


def test_imagefolder_reports_on_test_and_keeps_val_for_validation(make_folders: Any):
    source = imagefolder(root=str(make_folders(splits=("train", "val", "test"), count=2)))
    assert source.val is not None
    assert [split_length(split) for split in source.splits().values()] == [4, 4, 4]
    assert isinstance(source.test, FolderImages)
    assert "/test/" in source.test.paths[0]


def test_imagefolder_ignores_hidden_and_foreign_files(make_folders: Any):
    root = make_folders(count=2)
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "._000.png").write_bytes(b"resource fork")
    (root / "train" / "cat" / "readme.txt").write_text("no image")
    assert split_length(imagefolder(root=str(root)).train) == 4


def test_a_root_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match=rf"^dataset\.root={tmp_path}/none is not a folder; point"):
        imagefolder(root=str(tmp_path / "none"))


def test_an_empty_root(tmp_path: Path):
    with pytest.raises(DataError, match=rf"^dataset\.root={tmp_path} is empty; expected train/"):
        imagefolder(root=str(tmp_path))


@pytest.mark.parametrize(("present", "missing"), [("train", r"test \(or val\)"), ("test", "train")])
def test_a_missing_split_lists_what_is_there(make_folders: Any, present: str, missing: str):
    root = make_folders(splits=(present,))
    with pytest.raises(DataError, match=rf"has no folder {missing}; .*found: {present}\.$"):
        imagefolder(root=str(root))


def test_a_split_without_class_folders(make_folders: Any, tmp_path: Path):
    root = make_folders(splits=("train",))
    (root / "test").mkdir()
    with pytest.raises(DataError, match=r"/test has no class folder; expected .*/test/<class>/"):
        imagefolder(root=str(root))


def test_a_class_folder_without_images(make_folders: Any):
    root = make_folders()
    for file in (root / "train" / "dog").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"^the class folder .*/train/dog holds no images; remove"):
        imagefolder(root=str(root))


def test_different_classes_in_train_and_test(make_folders: Any):
    root = make_folders()
    (root / "test" / "dog").rename(root / "test" / "fox")
    with pytest.raises(DataError, match="only in train: dog; only in test: fox"):
        imagefolder(root=str(root))


def test_cifar10_reads_torchvisions_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The pickled batches as torchvision unpacks them, with made-up pixels."""
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        pixels = np.full((2, 3 * 32 * 32), number, dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [number, 9]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR_CLASSES)}))
    source = cifar10(root=str(tmp_path))
    train, test = tensors(source.train), tensors(source.test)
    assert train.images.shape == (10, 3, 32, 32)
    assert train.images[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert (len(test.images), source.classes) == (2, CIFAR_CLASSES)
