"""Files are read to know their content once, and again only where they may have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from qatexp.data import contents
from qatexp.data.contents import contents_digest
from qatexp.errors import DataError

Files = list[tuple[str, int]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Two folders with two files each."""
    found = []
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(2):
            path = tmp_path / "images" / name / f"{number}.png"
            path.write_text(f"{name}{number}")
            found.append((str(path), label))
    return found


class Reading:
    """Calls `contents_digest`, and knows which folders were read for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root, self.index = root, root.parent / "kept"
        self.read: list[str] = []
        read = contents._content

        def noticed(folder: contents._Folder, **keys: Any) -> contents._Content:
            self.read.append(Path(folder.path).name)
            return read(folder, **keys)

        monkeypatch.setattr(contents, "_content", noticed)

    def digest(self, files: Files, *, index: bool = True) -> tuple[str, list[str]]:
        """The hash, and the folders that were read for it."""
        self.read.clear()
        where = self.index if index else None
        return contents_digest(files, root=str(self.root), index=where), sorted(self.read)


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    """As if all files had been changed last some time ago."""
    monkeypatch.setattr(contents, "QUIET_SECONDS", -60.0)
    return Reading(monkeypatch, tmp_path / "images")


def test_files_are_read_once(files: Files, reading: Reading):
    first = reading.digest(files)
    assert first[1] == ["cat", "dog"]
    assert reading.digest(files) == (first[0], [])
    assert reading.digest(files, index=False) == first
    assert len(first[0]) == 64


def test_a_changed_file_has_its_folder_read_again(files: Files, reading: Reading):
    before, _ = reading.digest(files)
    Path(files[0][0]).write_text("other")
    after, read = reading.digest(files)
    assert (after != before, read) == (True, ["cat"])
    assert reading.digest(files) == (after, [])


def test_a_file_that_is_changed_in_place_is_noticed_by_no_matter_which_time(
    files: Files, reading: Reading
):
    """Size and modification time are as before; the time of the change cannot be set."""
    path = Path(files[0][0])
    state = path.stat()
    before, _ = reading.digest(files)
    path.write_text("tac0")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert reading.digest(files)[0] != before


def test_files_that_were_touched_keep_the_hash(files: Files, reading: Reading):
    before, _ = reading.digest(files)
    os.utime(files[0][0], ns=(1, 1))
    assert reading.digest(files) == (before, ["cat"])


def test_what_was_changed_just_now_is_not_trusted_yet(
    files: Files, reading: Reading, monkeypatch: pytest.MonkeyPatch
):
    """It may be changed again within the same tick of the file system's clock."""
    monkeypatch.setattr(contents, "QUIET_SECONDS", 2.0)
    first = reading.digest(files)
    assert reading.digest(files) == first
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert reading.digest(files) == first
    assert reading.digest(files) == (first[0], [])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda files: files[::-1], id="order"),
        pytest.param(lambda files: files[:-1], id="fewer"),
        pytest.param(lambda files: [(path, 0) for path, _ in files], id="labels"),
    ],
)
def test_order_labels_and_number_count(files: Files, reading: Reading, change):
    assert reading.digest(files)[0] != reading.digest(change(files))[0]


def test_names_count(files: Files, reading: Reading):
    before, _ = reading.digest(files)
    new = Path(files[0][0]).with_name("renamed.png")
    Path(files[0][0]).rename(new)
    assert reading.digest([(str(new), 0), *files[1:]])[0] != before


@pytest.mark.parametrize("damage", [b"", b"short", bytes(100)], ids=["empty", "cut", "changed"])
def test_a_damaged_index_costs_only_time(files: Files, reading: Reading, damage: bytes):
    before = reading.digest(files)
    (path,) = reading.index.iterdir()
    path.write_bytes(damage)
    assert reading.digest(files) == before
    assert reading.digest(files) == (before[0], [])


def test_an_index_that_cannot_be_written_costs_only_time(files: Files, reading: Reading):
    reading.index.write_text("a file, not a folder")
    assert reading.digest(files) == reading.digest(files)


def test_two_roots_have_an_index_each(files: Files, reading: Reading, tmp_path: Path):
    reading.digest(files)
    contents_digest(files[:2], root=str(tmp_path / "images" / "cat"), index=reading.index)
    assert len(list(reading.index.iterdir())) == 2
    assert reading.digest(files)[1] == []


def test_a_file_that_is_gone_is_named(files: Files, reading: Reading):
    Path(files[1][0]).unlink()
    with pytest.raises(DataError) as problem:
        reading.digest(files)
    assert str(problem.value) == (
        f"{files[1][0]} cannot be read: No such file or directory; replace or remove it."
    )
