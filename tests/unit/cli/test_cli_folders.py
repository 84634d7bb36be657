from datetime import datetime
from pathlib import Path

import pytest

from qatexp.cli import folders
from qatexp.cli.compose import Request


@pytest.fixture
def noon(monkeypatch):
    """Stop the clock."""

    class Clock:
        @staticmethod
        def now():
            return datetime(2024, 2, 3, 12, 5, 6)

    monkeypatch.setattr(folders, "datetime", Clock)
    return "2024-02-03_12-05-06"


@pytest.mark.parametrize(
    ("taken", "suffix"),
    [
        pytest.param([], "", id="none"),
        pytest.param([""], "-2", id="one"),
        pytest.param(["", "-2", "-3"], "-4", id="several"),
        pytest.param(["-2"], "", id="only a numbered one"),
    ],
)
def test_a_stamp_avoids_the_folders_that_are_there(tmp_path, monkeypatch, noon, taken, suffix):
    monkeypatch.chdir(tmp_path)
    for name in taken:
        (tmp_path / "multirun" / "single" / f"{noon}{name}").mkdir(parents=True)
    assert folders.stamp("single") == f"{noon}{suffix}"


def test_runs_and_sweeps_do_not_share_their_numbers(tmp_path, monkeypatch, noon):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "multirun" / "single" / noon).mkdir(parents=True)
    assert folders.stamp("sweep") == noon


def test_a_file_counts_as_taken_too(tmp_path, monkeypatch, noon):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "multirun" / "single").mkdir(parents=True)
    (tmp_path / "multirun" / "single" / noon).write_text("")
    assert folders.stamp("single") == f"{noon}-2"


def test_a_new_folder_is_nobody_elses(tmp_path, monkeypatch, noon):
    """Another process finds the name free, too, and creates the folder in between."""
    monkeypatch.chdir(tmp_path)
    free = folders.stamp("rerun")
    (tmp_path / "multirun" / "rerun" / free).mkdir(parents=True)
    names = iter([free, "next"])
    monkeypatch.setattr(folders, "stamp", lambda _kind: next(names))
    assert folders.new_folder("rerun") == Path("multirun/rerun/next")
    assert Path("multirun/rerun/next").is_dir()


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch, noon):
    """Two that started together once wrote one record in turns, with figures of both."""
    monkeypatch.chdir(tmp_path)

    def ask():
        return Request([], "hydra.run.dir", Path("multirun/single") / folders.stamp("single"))

    def ask_while_another_one_starts():
        request = ask()
        if not request.folder.parent.exists():
            folders.claimed(ask)
        return request

    second = folders.claimed(ask_while_another_one_starts)
    assert second.folder == Path(f"multirun/single/{noon}-2")
    assert second.overrides == (f"hydra.run.dir='{second.folder}'",)
    assert sorted(path.name for path in Path("multirun/single").iterdir()) == [noon, f"{noon}-2"]


def test_a_folder_that_is_there_is_left_to_whoever_named_it(tmp_path):
    request = Request([], "hydra.run.dir", tmp_path)
    assert folders.claimed(lambda: request) is request


def test_a_folder_that_the_command_line_names_is_asked_for_once(tmp_path):
    """Planning a sweep takes seconds."""
    asked = []

    def ask():
        asked.append(Request([], "hydra.sweep.dir", tmp_path, is_named=True))
        return asked[-1]

    assert folders.claimed(ask) is asked[0]
    assert len(asked) == 1
