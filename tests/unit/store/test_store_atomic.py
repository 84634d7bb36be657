import os
import stat

import pytest

from qatexp.errors import StoreError
from qatexp.store.atomic import atomic_path, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_replaces_what_was_there(tmp_path):
    path = tmp_path / "record.json"
    write_text(path, "old")
    write_text(path, "né\n")
    assert path.read_bytes() == "né\n".encode()
    assert names(tmp_path) == ["record.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            assert names(tmp_path) == sorted([temporary.name, "model.onnx"])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["model.onnx"]


def test_the_temporary_file_is_beside_the_final_one(tmp_path):
    """A rename replaces a file at once only within one file system."""
    with atomic_path(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path


def test_a_file_has_the_mode_of_any_other_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == ordinary.stat().st_mode


@pytest.mark.parametrize(
    ("parent", "reason"),
    [
        pytest.param("missing", "No such file or directory", id="missing"),
        pytest.param("file", "Not a directory", id="not a folder"),
    ],
)
def test_a_folder_that_cannot_be_used_is_an_error_in_words(tmp_path, parent, reason):
    (tmp_path / "file").write_text("kept")
    path = tmp_path / parent / "record.json"
    with pytest.raises(StoreError) as problem:
        write_text(path, "text")
    assert str(problem.value) == f"cannot write {path}: {reason}"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_read_only_folder_is_an_error_in_words(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreError, match=r"record\.json: Permission denied$"):
        write_text(tmp_path / "record.json", "text")


def test_a_full_disk_is_an_error_in_words_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"record\.json: No space left on device$"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["record.json"]


def test_a_target_that_is_a_folder_is_an_error_in_words(tmp_path):
    (tmp_path / "record.json").mkdir()
    with pytest.raises(StoreError, match=r"record\.json: Is a directory$"):
        write_text(tmp_path / "record.json", "text")
    assert names(tmp_path) == ["record.json"]
