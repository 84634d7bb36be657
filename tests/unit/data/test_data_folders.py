"""Image folders: decoding once, keeping the result, streaming, sizes and bad files."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qatexp.config.schema import AugmentConfig, Placement
from qatexp.data import ImageData, decoding
from qatexp.data.load import load_data
from qatexp.errors import ConfigError, DataError

BOTH = pytest.mark.parametrize("placement", [Placement.memory, Placement.stream])
UNIT: dict[str, Any] = {"mean": [0.0] * 3, "std": [1.0] * 3}


def folders(load: Any, root: Path, decoded_dir: Path | None = None, **keys: Any) -> ImageData:
    keys = {"batch_size": 2, "workers": 0, "val_fraction": 0.0, **keys}
    loaded = load("imagefolder", decoded_dir, root=str(root), **keys)
    assert isinstance(loaded, ImageData)
    return loaded


def images_of(batches: Any) -> torch.Tensor:
    return torch.cat([images for images, _ in batches])


@BOTH
def test_images_are_the_files_pixels(load: Any, make_folders: Any, placement: Placement):
    root = make_folders(size=(9, 7))
    data = folders(load, root, placement=placement, **UNIT)
    assert data.image_size == (7, 9)
    images = images_of(data.eval_batches("test"))
    with Image.open(root / "test" / "dog" / "002.png") as file:
        expected = torch.from_numpy(np.array(file)).permute(2, 0, 1) / 255
    torch.testing.assert_close(images[6 + 2], expected)
    labels = torch.cat([labels for _, labels in data.eval_batches("test")])
    assert labels.tolist() == [0] * 6 + [1] * 6


def test_memory_and_stream_give_the_same_resized_images(load: Any, make_folders: Any):
    root = make_folders(size=(20, 14), suffix="jpg")
    keys: dict[str, Any] = {"image_size": 8, "resize_size": 10, **UNIT}
    memory, stream = (
        images_of(folders(load, root, placement=place, **keys).eval_batches("train"))
        for place in (Placement.memory, Placement.stream)
    )
    assert memory.shape == (12, 3, 8, 8)
    assert torch.equal(memory, stream)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_kinds_of_images_become_rgb(load: Any, make_folders: Any, mode: str):
    assert folders(load, make_folders(mode=mode)).channels == 3


def test_deep_images_are_refused_instead_of_clipped(load: Any, make_folders: Any):
    root = make_folders()
    path = root / "train" / "cat" / "003.png"
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(path)
    with pytest.raises(
        DataError, match=rf"{path} has more than 8 bits per channel \(PIL mode I;16"
    ):
        folders(load, root)


@BOTH
def test_an_unreadable_image_is_named(load: Any, make_folders: Any, placement: Placement):
    root = make_folders(suffix="jpg")
    path = root / "test" / "dog" / "004.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"^{path} cannot be read as an image: .*Replace or remov"):
        list(folders(load, root, placement=placement).eval_batches("test"))


def test_an_unreadable_image_is_named_through_worker_processes(load: Any, make_folders: Any):
    root = make_folders()
    path = root / "test" / "dog" / "004.png"
    path.write_bytes(path.read_bytes()[:-30])  # its header is whole
    data = folders(load, root, placement=Placement.stream, workers=1, eval_batch_size=4)
    with pytest.raises(DataError, match=rf"^{path} cannot be read as an image: "):
        list(data.eval_batches("test"))


@pytest.mark.parametrize(
    ("placement", "keeps"),
    [
        pytest.param(Placement.memory, True, id="memory"),
        pytest.param(Placement.stream, True, id="stream"),
        pytest.param(Placement.stream, False, id="stream, nothing kept"),
    ],
)
def test_files_that_are_no_images_are_named_before_anything_is_trained(
    load: Any, make_folders: Any, tmp_path: Path, placement: Placement, keeps: bool
):
    root = make_folders(splits=("train", "test"), count=8)
    paths = [root / "test" / "dog" / f"{index:03}.png" for index in range(1, 8)]
    for path in paths:
        path.write_bytes(b"not an image")
    where = tmp_path / "kept" if keeps else None
    with pytest.raises(DataError) as problem:
        folders(load, root, where, placement=placement)
    assert str(problem.value) == (
        " ".join(
            f"{path} cannot be read as an image: cannot identify image file {str(path)!r}."
            for path in paths[:5]
        )
        + " 2 further files cannot either. Replace or remove them."
    )
    for path in paths:
        path.unlink()
    assert folders(load, root, where, placement=placement).size("test") == 9


def test_headers_are_read_once(load: Any, make_folders: Any, tmp_path: Path, monkeypatch: Any):
    root = make_folders()
    monkeypatch.setattr("qatexp.data.contents.QUIET_SECONDS", -3600.0)  # files made just now count
    folders(load, root, tmp_path / "kept", placement=Placement.stream)
    asked: list[str] = []
    monkeypatch.setattr("qatexp.data.fingerprint.header_problem", asked.append)
    folders(load, root, tmp_path / "kept", placement=Placement.stream)
    assert asked == []


@BOTH
def test_different_sizes_need_an_image_size(load: Any, make_folders: Any, placement: Placement):
    root = make_folders()
    path = root / "test" / "dog" / "004.png"
    Image.new("RGB", (30, 20)).save(path)
    text = rf"^{path} has 30x20 pixels, the first training image 8x8; set dataset\.image_size"
    with pytest.raises(DataError, match=text):
        list(folders(load, root, placement=placement).eval_batches("test"))
    data = folders(load, root, placement=placement, image_size=8)
    assert images_of(data.eval_batches("test")).shape == (12, 3, 8, 8)


def test_images_in_memory_exclude_crops_of_the_full_size(load: Any, make_folders: Any):
    augment = AugmentConfig(random_resized_crop=True)
    text = r"^dataset\.placement=memory excludes dataset\.augment\.random_resized_crop=true"
    with pytest.raises(ConfigError, match=text):
        folders(load, make_folders(), placement=Placement.memory, augment=augment)


def test_auto_streams_what_does_not_fit_or_needs_full_size(load: Any, make_folders: Any):
    root = make_folders(size=(160, 160))  # 24 x 76.8 kB are above 1 MB
    assert folders(load, root).summary()["placement"] == "memory"
    assert folders(load, root, memory_limit_mb=1).summary()["placement"] == "stream"
    augment = AugmentConfig(random_resized_crop=True)
    streamed = folders(load, root, augment=augment, image_size=16)
    assert streamed.summary()["placement"] == "stream"
    assert next(streamed.train_batches(epoch=0, seed=0))[0].shape == (2, 3, 16, 16)


def test_streams_use_a_convention_for_the_normalisation(load: Any, make_folders: Any):
    summary = folders(load, make_folders(), placement=Placement.stream).summary()
    assert summary["mean"] == [0.485, 0.456, 0.406]


def test_streamed_batches_do_not_depend_on_the_number_of_workers(load: Any, make_folders: Any):
    root = make_folders()
    augment = AugmentConfig(flip=True, crop_padding=2, random_resized_crop=True)
    epochs = []
    for workers in (0, 2):
        data = folders(load, root, placement=Placement.stream, workers=workers, augment=augment)
        next(data.train_batches(epoch=9, seed=0))  # abandoned: must not disturb what follows
        epochs.append([images_of(data.train_batches(epoch=e, seed=0)) for e in range(2)])
    for alone, with_workers in zip(*epochs, strict=True):
        assert torch.equal(alone, with_workers)
    assert not torch.equal(*epochs[0])


def test_two_loops_over_one_stream_are_noticed(load: Any, make_folders: Any):
    data = folders(load, make_folders(), placement=Placement.stream)
    first = data.train_batches(epoch=0, seed=0)
    next(first)
    next(data.train_batches(epoch=1, seed=0))
    with pytest.raises(RuntimeError, match="a new pass over the images began before this one"):
        next(first)


def test_a_validation_folder_replaces_the_fraction(load: Any, make_folders: Any):
    root = make_folders(splits=("train", "val", "test"))
    data = folders(load, root, val_fraction=0.5)
    assert [data.size(split) for split in ("train", "val", "test")] == [12, 12, 12]


def test_folders_are_decoded_once(
    load: Any, make_folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root, kept = make_folders(), tmp_path / "kept"
    first = folders(load, root, kept)
    found = sorted(path.suffix for path in kept.iterdir())
    assert found == [".index", ".index", ".npz", ".npz"]
    monkeypatch.setattr(decoding, "_decode", lambda _: pytest.fail("decoded again"))
    again = folders(load, root, kept)
    assert again.fingerprint == first.fingerprint
    assert torch.equal(first.example(12), again.example(12))


def test_kept_images_are_not_used_for_changed_files_or_sizes(
    load: Any, make_folders: Any, tmp_path: Path
):
    root, kept = make_folders(), tmp_path / "kept"
    first = folders(load, root, kept)
    path = root / "train" / "cat" / "000.png"
    Image.new("RGB", (8, 8)).save(path)
    os.utime(path, ns=(1, 1))
    changed = folders(load, root, kept, mean=[0.0] * 3, std=[1.0] * 3)
    assert changed.fingerprint != first.fingerprint
    assert int(changed.example(1).count_nonzero()) == 0
    assert folders(load, root, kept, image_size=4).image_size == (4, 4)


@BOTH
def test_the_same_images_somewhere_else_are_the_same_data_set(
    load: Any, make_folders: Any, tmp_path: Path, placement: Placement
):
    root, kept = make_folders(), tmp_path / "kept"
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # with times of their own
    first, second = (folders(load, place, kept, placement=placement) for place in (root, copy))
    assert first.fingerprint == second.fingerprint


def test_folders_that_differ_in_nothing_but_pixels_are_other_data_sets(
    load: Any, make_folders: Any, tmp_path: Path
):
    """Also when they are streamed, and sizes and times are the same: a tool may have set them."""
    root, kept = make_folders(suffix="bmp"), tmp_path / "kept"
    prints = []
    for index in (None, kept, kept):
        Image.new("RGB", (8, 8), (len(prints), 0, 0)).save(root / "train" / "cat" / "000.bmp")
        for path in root.rglob("*.bmp"):
            os.utime(path, ns=(1, 1))
        data = folders(load, root, index, placement=Placement.stream)
        prints.append(data.fingerprint)
    assert len(set(prints)) == 3


def test_kept_images_are_not_used_for_another_folder_with_the_same_listing(
    load: Any, make_folders: Any, tmp_path: Path
):
    """Sizes and times say nothing where a tool sets them: the pixels of BMP files may differ."""
    root, kept = make_folders(suffix="bmp"), tmp_path / "kept"
    other = tmp_path / "other"
    shutil.copytree(root, other)
    Image.new("RGB", (8, 8)).save(other / "train" / "cat" / "000.bmp")
    for folder in (root, other):
        for path in folder.rglob("*.bmp"):
            os.utime(path, ns=(1, 1))
    first = folders(load, root, kept, **UNIT)
    second = folders(load, other, kept, **UNIT)
    assert int(first.example(1).count_nonzero()) > 0
    assert int(second.example(1).count_nonzero()) == 0


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_damaged_kept_images_are_set_aside(
    load: Any,
    make_folders: Any,
    tmp_path: Path,
    damage: str,
    caplog: pytest.LogCaptureFixture,
):
    root, kept = make_folders(), tmp_path / "kept"
    first = folders(load, root, kept)
    (path,) = kept.glob("imagefolder-train-*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged = {"truncated": content[:-100], "changed": content, "empty": b""}[damage]
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        again = folders(load, root, kept)
    assert again.fingerprint == first.fingerprint
    assert len(again.warnings) == 1
    assert "is damaged (" in again.warnings[0]
    assert again.warnings[0] in caplog.text
    assert path.with_suffix(".damaged").read_bytes() == damaged
    assert folders(load, root, kept).warnings == []


def test_a_folder_that_cannot_be_written_is_only_a_warning(
    load: Any, make_folders: Any, tmp_path: Path
):
    occupied = tmp_path / "kept"
    occupied.write_text("a file, not a folder")
    data = folders(load, make_folders(), occupied)
    assert data.size("train") == 12
    assert "cannot be" in data.warnings[0]


def test_decoding_by_several_processes_keeps_the_order(
    make_folders: Any, monkeypatch: pytest.MonkeyPatch, load: Any
):
    root = make_folders()
    alone = folders(load, root)
    monkeypatch.setattr(decoding, "IMAGES_PER_WORKER", 3)
    monkeypatch.setattr(decoding, "_processors", lambda: 2)
    assert folders(load, root).fingerprint == alone.fingerprint


def test_torchvisions_own_folders_are_identified_by_their_files(
    make_folders: Any, monkeypatch: pytest.MonkeyPatch, load: Any, tmp_path: Path
):
    """A user may return torchvision's ImageFolder: it is kept and streamed without a full pass."""
    from torchvision.datasets import ImageFolder

    from qatexp.config.schema import DatasetConfig
    from qatexp.data import Source

    root = make_folders()

    def own() -> Source:
        return Source(
            train=ImageFolder(root / "train"),
            test=ImageFolder(root / "test"),
            classes=("cat", "dog"),
        )

    monkeypatch.setattr("qatexp.data.sources.digits", own)
    config = DatasetConfig(target="qatexp.data.sources.digits", val_fraction=0.0, **UNIT)
    device = torch.device("cpu")
    kept = tmp_path / "kept"
    data = load_data(config, seed=0, device=device, decoded_dir=kept, trusted=[__name__])
    assert len(list(kept.glob("*.npz"))) == 2
    assert torch.equal(data.example(12), folders(load, root, **UNIT).example(12))


def test_a_broken_link_is_named(load: Any, make_folders: Any, tmp_path: Path):
    root = make_folders()
    link = root / "train" / "cat" / "link.png"
    link.symlink_to(root / "gone.png")
    with pytest.raises(
        DataError, match=rf"^{link} cannot be read: No such file or directory; repl"
    ):
        folders(load, root, tmp_path / "kept")
    with pytest.raises(DataError, match=rf"^{link} cannot be read as an image: .*Replace or rem"):
        folders(load, root)
