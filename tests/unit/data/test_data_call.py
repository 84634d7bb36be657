"""How ``dataset._target_`` is called, and users' own sources."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from qatexp.config.schema import DatasetConfig, Placement
from qatexp.data import ImageData, ImageTensors, Source, load_data
from qatexp.errors import ConfigError, DataError

MODULE = "own_images_for_test"

OWN_SOURCE = '''
from __future__ import annotations

import torch
from PIL import Image
from torch.utils.data import Dataset

from qatexp.data import ImageTensors, Source


def squares(*, image_size=None, count: int = 12, shade: int = 200) -> Source:
    """A user's own data, in memory."""
    labels = torch.arange(count) % 2
    images = torch.full((count, 1, 6, 6), shade, dtype=torch.uint8)
    images[labels == 1, :, 2:4, 2:4] = 0
    split = ImageTensors(images, labels)
    return Source(train=split, test=split, classes=("full", "hollow"))


class Shades(Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Image.new("L", (5, 4), color=10 * index), index % 2


def shades(**keys) -> Source:
    """A user's own data as a torch Dataset of (PIL image, int)."""
    return Source(train=Shades(keys.get("count", 8)), test=Shades(2), classes=("even", "odd"))


def fails():
    raise KeyError("no such table")


def returns_list():
    return [1, 2]


def list_splits():
    return Source(train=[1, 2], test=[3], classes=("a",))


def needs_path(path):
    return path


class Broken(Shades):
    def __getitem__(self, index):
        raise OSError("disk on fire")


def broken():
    return Source(train=Shades(4), test=Broken(2), classes=("a", "b"))


def turns_colourful():
    class Mixed(Shades):
        def __getitem__(self, index):
            return Image.new("L" if index == 0 else "RGB", (5, 4)), 0

    return Source(train=Mixed(4), test=Mixed(2), classes=("a", "b"))


def tensor_items():
    class Tensors(Shades):
        def __getitem__(self, index):
            return torch.zeros(3, 4, 4), 0

    return Source(train=Tensors(2), test=Tensors(2), classes=("a",))
'''


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{MODULE}.py").write_text(OWN_SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


def load_own(function: str, **keys: Any) -> ImageData:
    keys = {"batch_size": 2, "val_fraction": 0.25, **keys}
    return load_data(
        DatasetConfig(target=f"{MODULE}.{function}", **keys),
        seed=0,
        device=torch.device("cpu"),
        decoded_dir=None,
        trusted=[MODULE],
    )


@pytest.mark.usefixtures("own_module")
def test_a_users_tensors_are_used_with_their_options():
    data = load_own("squares", options={"count": 16, "shade": 100})
    assert data.name == "squares"
    assert data.classes == ("full", "hollow")
    assert [data.size(split) for split in ("train", "val", "test")] == [12, 4, 16]
    assert (data.channels, data.image_size) == (1, (6, 6))


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize("placement", [Placement.memory, Placement.stream])
def test_a_users_dataset_is_used_in_memory_and_streamed(placement: Placement):
    data = load_own(
        "shades", placement=placement, mean=[0.0], std=[1.0], workers=0, val_fraction=0.0
    )
    images = torch.cat([images for images, _ in data.eval_batches("train")])
    assert (data.channels, data.image_size) == (1, (4, 5))
    torch.testing.assert_close(images[:, 0, 0, 0] * 255, torch.arange(8) * 10.0)
    labels = torch.cat([labels for _, labels in data.eval_batches("train")])
    assert labels.tolist() == [0, 1] * 4


@pytest.mark.usefixtures("own_module")
def test_both_placements_give_the_same_fingerprint_only_for_the_same_images():
    first = load_own("shades", placement=Placement.stream, workers=0)
    again = load_own("shades", placement=Placement.stream, workers=0)
    other = load_own("shades", placement=Placement.stream, workers=0, options={"count": 10})
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.usefixtures("own_module")
def test_an_unknown_option_lists_what_is_accepted():
    with pytest.raises(
        ConfigError,
        match=rf"^dataset\.cuont=3 is not an argument of {MODULE}\.squares; "
        r"allowed: count, shade\.$",
    ):
        load_own("squares", options={"cuont": 3})


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    "key", [{"root": "somewhere"}, {"download": True}], ids=["root", "download"]
)
def test_root_and_download_are_not_silently_ignored(key: dict[str, Any]):
    (name,) = key
    with pytest.raises(
        ConfigError, match=rf"^dataset\.{name}=.* has no effect: .*squares does not"
    ):
        load_own("squares", **key)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("fails", r"own_images_for_test\.fails failed: KeyError: 'no such table'"),
        ("returns_list", r"returned a list; expected a qatexp\.data\.Source whose splits are"),
        ("list_splits", r"the train split of .* is a list; expected a qatexp\.data\.Source"),
        ("broken", r"^image 0 of the test split cannot be read: disk on fire\."),
        (
            "turns_colourful",
            r"^image 1 of the train split has colours \(PIL mode RGB\) but the fir",
        ),
        ("tensor_items", r"image 0 of the train split is \(Tensor, int\); expected"),
    ],
)
def test_a_source_that_does_not_fit_says_what_is_expected(function: str, text: str):
    with pytest.raises(DataError, match=text):
        load_own(function)


@pytest.mark.usefixtures("own_module")
def test_a_required_argument_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"^dataset\.path is not set; .*needs_path needs it\.$"):
        load_own("needs_path")


@pytest.mark.usefixtures("own_module")
def test_an_untrusted_source_is_not_called():
    with pytest.raises(ConfigError, match=rf"trusted_packages=\[{MODULE}\]"):
        load_data(
            DatasetConfig(target=f"{MODULE}.squares"),
            seed=0,
            device=torch.device("cpu"),
            decoded_dir=None,
        )


def split_of(images: torch.Tensor, labels: torch.Tensor) -> Source:
    split = ImageTensors(images, labels)
    return Source(train=split, test=split, classes=("a", "b"))


GOOD = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (split_of(GOOD.float(), LABELS), r"images are torch\.float32 of shape \(4, 3, 2, 2\); exp"),
        (split_of(GOOD[0], LABELS), r"of shape \(3, 2, 2\); expected torch\.uint8 of shape \(N, C"),
        (
            split_of(GOOD, LABELS[:3]),
            r"labels are torch\.int64 of shape \(3,\); expected .* \(4,\)",
        ),
        (split_of(GOOD[:0], LABELS[:0]), "the train split of .* holds no images"),
        (split_of(GOOD, LABELS * 2), r"2 labels of the train split are outside 0\.\.1, 2 for inst"),
        (
            Source(ImageTensors(GOOD, LABELS), ImageTensors(GOOD[:, :1], LABELS), ("a", "b")),
            "the test split has 1 channels, the training images have 3",
        ),
        (
            Source(ImageTensors(GOOD, LABELS), ImageTensors(GOOD, LABELS), ()),
            r"returned classes=\(\); expected a tuple with the name of every class",
        ),
        (
            Source(ImageTensors(GOOD, LABELS), ImageTensors(GOOD, LABELS), ("a", "b"), mean=(0.5,)),
            r"returned mean=\(0\.5,\) and std=None; expected both or neither",
        ),
        (
            Source(
                ImageTensors(GOOD, LABELS),
                ImageTensors(GOOD, LABELS),
                ("a", "b"),
                None,
                (0.5,),
                (1.0,),
            ),
            "expected 3 values each, one for each channel",
        ),
    ],
    ids=["float", "3d", "lengths", "empty", "labels", "channels", "classes", "only-mean", "mean"],
)
def test_inconsistent_tensors_are_refused(
    source: Source, text: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("qatexp.data.sources.digits", lambda: source)
    with pytest.raises(DataError, match=text):
        load_data(
            DatasetConfig(target="qatexp.data.sources.digits"),
            seed=0,
            device=torch.device("cpu"),
            decoded_dir=None,
            trusted=[__name__],
        )
