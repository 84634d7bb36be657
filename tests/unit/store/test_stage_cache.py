import errno
import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qatexp.errors import StoreError
from qatexp.store import entries
from qatexp.store.entries import MANIFEST
from qatexp.store.lock import Lock
from qatexp.store.stage_cache import StageCache
from qatexp.store.uses import read_uses


class Maker:
    """Writes a file, and counts how often."""

    def __init__(self, text="weights"):
        self.calls = 0
        self.text = text

    def __call__(self, folder):
        self.calls += 1
        assert list(folder.iterdir()) == []
        (folder / "weights.bin").write_text(self.text)


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if p.is_dir())


def test_a_stage_is_made_once_and_then_reused(tmp_path):
    make = Maker()
    first = StageCache(tmp_path).get("fp32", "f00d", make)
    again = StageCache(tmp_path).get("fp32", "f00d", make)
    assert make.calls == 1
    assert (first.cached, again.cached) == (False, True)
    assert first.folder == again.folder == tmp_path / "fp32" / "f00d"
    assert (again.folder / "weights.bin").read_text() == "weights"
    assert visible(tmp_path / "fp32") == ["f00d"]


def test_a_finished_stage_is_found_without_making_it(tmp_path, caplog):
    cache = StageCache(tmp_path)
    assert cache.find("fp32", "f00d") is None
    entry = cache.get("fp32", "f00d", Maker()).folder
    assert cache.find("fp32", "f00d") == entry
    flip(entry)
    assert cache.find("fp32", "f00d") is None
    assert "is damaged (weights.bin)" in caplog.text
    unused = StageCache(None)
    unused.get("fp32", "f00d", Maker())
    assert unused.find("fp32", "f00d") is None


@pytest.mark.parametrize(
    ("stage", "fingerprint"), [("fp32", "beef"), ("ptq", "f00d")], ids=["input", "stage"]
)
def test_another_input_or_stage_is_another_entry(tmp_path, stage, fingerprint):
    make = Maker()
    cache = StageCache(tmp_path)
    cache.get("fp32", "f00d", make)
    assert not cache.get(stage, fingerprint, make).cached
    assert make.calls == 2


def shorten(entry):
    (entry / "weights.bin").write_text("wei")


def flip(entry):
    (entry / "weights.bin").write_text("WEIGHTS")


def lose(entry):
    (entry / "weights.bin").unlink()


def cut_manifest(entry):
    text = (entry / MANIFEST).read_text()
    (entry / MANIFEST).write_text(text[: len(text) // 2])


def replace_manifest(entry):
    (entry / MANIFEST).write_text("[]")


@pytest.mark.parametrize("damage", [shorten, flip, lose, cut_manifest, replace_manifest])
def test_a_damaged_entry_is_set_aside_with_a_warning_and_made_anew(tmp_path, caplog, damage):
    make = Maker()
    cache = StageCache(tmp_path)
    entry = cache.get("fp32", "f00d", make).folder
    damage(entry)
    with caplog.at_level(logging.WARNING):
        repaired = cache.get("fp32", "f00d", make)
    assert (make.calls, repaired.cached) == (2, False)
    assert (entry / "weights.bin").read_text() == "weights"
    kept, aside = visible(tmp_path / "fp32")
    assert kept == "f00d"
    assert aside.startswith("f00d.damaged-")
    assert f"cached stage {tmp_path}/fp32/{aside} is damaged (" in caplog.text
    assert "); computing it anew" in caplog.text
    assert cache.get("fp32", "f00d", make).cached


def test_a_failure_leaves_nothing_and_the_next_try_starts_empty(tmp_path):
    cache = StageCache(tmp_path)

    def fail(folder):
        (folder / "weights.bin").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get("fp32", "f00d", fail)
    assert visible(tmp_path / "fp32") == []
    assert not cache.get("fp32", "f00d", Maker()).cached


def test_what_a_cut_has_left_is_found_by_the_next_try_and_removed_at_the_end(tmp_path):
    cache = StageCache(tmp_path)
    partial = cache.partial("fp32", "f00d")
    seen = []

    def cut(folder):
        partial.mkdir()
        (partial / "state").write_text("half")
        raise KeyboardInterrupt

    def go_on(folder):
        seen.append((partial / "state").read_text())

    with pytest.raises(KeyboardInterrupt):
        cache.get("fp32", "f00d", cut)
    assert visible(tmp_path / "fp32") == ["f00d.partial"]
    cache.get("fp32", "f00d", go_on)
    assert seen == ["half"]
    assert visible(tmp_path / "fp32") == ["f00d"]


def test_what_was_left_beside_a_finished_entry_is_removed(tmp_path):
    """The process may have ended between the two."""
    cache = StageCache(tmp_path)
    cache.get("fp32", "f00d", Maker())
    cache.partial("fp32", "f00d").mkdir()
    assert cache.get("fp32", "f00d", Maker()).cached
    assert visible(tmp_path / "fp32") == ["f00d"]


def test_a_cache_that_is_disabled_has_no_place_for_what_is_not_finished():
    assert StageCache(None).partial("fp32", "f00d") is None


def test_a_cache_that_is_disabled_makes_everything_anew():
    make = Maker()
    cache = StageCache(None)
    first = cache.get("fp32", "f00d", make)
    make.text = "newer"
    second = cache.get("fp32", "f00d", make)
    assert make.calls == 2
    assert not first.cached
    assert not second.cached
    assert (second.folder / "weights.bin").read_text() == "newer"


def test_a_cache_that_is_disabled_cleans_up_after_itself():
    cache = StageCache(None)
    folder = cache.get("fp32", "f00d", Maker()).folder
    assert folder.is_dir()
    del cache
    gc.collect()
    assert not folder.exists()


def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as problem:
        StageCache(tmp_path / "file" / "stages").get("fp32", "f00d", Maker())
    assert str(problem.value) == (
        f"cannot write to cache.dir={tmp_path}/file/stages: Not a directory"
    )


def test_a_full_disk_is_named(tmp_path):
    def fail(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError) as problem:
        StageCache(tmp_path).get("fp32", "f00d", fail)
    assert str(problem.value) == f"cannot write to cache.dir={tmp_path}: No space left on device"


def test_a_file_elsewhere_is_not_blamed_on_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fail(folder):
        (tmp_path / "their images").read_bytes()

    with pytest.raises(StoreError) as problem:
        StageCache(tmp_path / "stages").get("fp32", "f00d", fail)
    assert str(problem.value) == (
        f"stage fp32: cannot use {tmp_path}/their images: No such file or directory"
    )


def test_a_cache_folder_may_be_relative(tmp_path, monkeypatch):
    """The default is; the temporary names below it are absolute."""
    monkeypatch.chdir(tmp_path)

    def fail(folder):
        (folder / "missing" / "weights.bin").write_text("")

    with pytest.raises(StoreError, match=r"^cannot write to cache\.dir=stages: No such file"):
        StageCache(Path("stages")).get("fp32", "f00d", fail)


def test_the_manifest_holds_a_checksum_of_every_file(tmp_path):
    entry = StageCache(tmp_path).get("fp32", "f00d", Maker("")).folder
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert json.loads((entry / MANIFEST).read_text()) == {"weights.bin": empty}


ONE_OF_MANY = """
import sys, time
from pathlib import Path
from qatexp.store.stage_cache import StageCache

root = Path(sys.argv[1])

def make(folder):
    with (root / "calls").open("a") as calls:
        calls.write("x")
    time.sleep(0.5)
    (folder / "weights.bin").write_text("weights")

(root / sys.argv[2]).touch()
while not (root / "go").exists():
    time.sleep(0.02)
entry = StageCache(root / "stages").get("fp32", "f00d", make)
print(entry.cached, (entry.folder / "weights.bin").read_text())
"""


def test_eight_processes_make_an_entry_once(tmp_path):
    """Those that come later wait, and take the first one's result."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_MANY, str(tmp_path), f"ready{number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    while len(list(tmp_path.glob("ready*"))) < 8:
        time.sleep(0.05)
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=60)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * 8
    assert (tmp_path / "calls").read_text() == "x"
    assert sorted(said) == [["False", "weights"], *[["True", "weights"]] * 7]
    assert list((tmp_path / "stages" / ".uses").iterdir()) == []


CUT = """
import os, signal, sys
from pathlib import Path
from qatexp.store.stage_cache import StageCache

def make(folder):
    (folder / "weights.bin").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

StageCache(Path(sys.argv[1])).get("fp32", "f00d", make)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_no_entry_and_no_lock(tmp_path):
    subprocess.run([sys.executable, "-c", CUT, str(tmp_path)], check=False, timeout=60)
    left = tmp_path / "fp32" / "f00d.lock"
    assert left.exists()
    make = Maker()
    assert not StageCache(tmp_path).get("fp32", "f00d", make).cached
    assert make.calls == 1
    assert not left.exists()


def test_who_waits_says_for_whom(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("qatexp.store.lock.TELL_SECONDS", 0.0)
    (tmp_path / "fp32").mkdir()
    held = Lock(tmp_path / "fp32" / "f00d.lock")
    held.try_acquire()
    threading.Timer(0.3, held.release).start()
    with caplog.at_level(logging.INFO):
        StageCache(tmp_path).get("fp32", "f00d", Maker())
    assert "fp32: waiting for the same stage, computed by process " in caplog.text


def test_the_first_result_counts_where_a_lock_was_lost(tmp_path, caplog):
    """A process that stands still for minutes finds the entry there at its end."""
    cache = StageCache(tmp_path)

    def overtaken(folder):
        (folder / "weights.bin").write_text("late")
        (tmp_path / "fp32" / "f00d.lock").unlink()
        StageCache(tmp_path).get("fp32", "f00d", Maker())

    entry = cache.get("fp32", "f00d", overtaken)
    assert (entry.folder / "weights.bin").read_text() == "weights"
    assert "was finished by another process in the meantime" in caplog.text
    assert visible(tmp_path / "fp32") == ["f00d"]


def test_a_run_says_what_it_uses_as_long_as_its_cache_is_there(tmp_path):
    cache = StageCache(tmp_path, run=tmp_path / "run")
    cache.get("fp32", "f00d", Maker())
    cache.get("ptq", "beef", Maker())
    cache.find("ptq", "beef")
    (use,) = read_uses(tmp_path)
    assert (use.run, use.is_over) == (tmp_path / "run", False)
    assert use.entries == {"fp32/f00d", "ptq/beef"}
    del cache
    gc.collect()
    assert read_uses(tmp_path) == []


def test_what_a_killed_run_used_stays_known(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from qatexp.store.stage_cache import StageCache
cache = StageCache(Path(sys.argv[1]), run=Path("run"))
cache.get("fp32", "f00d", lambda folder: None)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    (use,) = read_uses(tmp_path)
    assert (use.is_over, use.entries) == (True, {"fp32/f00d"})


def test_an_entry_is_as_open_to_others_as_the_files_in_it(tmp_path):
    """A group shares a cache: what its members cannot read they would take for damaged."""
    before = os.umask(0o002)
    try:
        entry = StageCache(tmp_path).get("fp32", "f00d", Maker())
    finally:
        os.umask(before)
    assert entry.folder.stat().st_mode & 0o777 == 0o775


def test_what_cannot_be_read_is_not_damaged(tmp_path, monkeypatch):
    """Another user's entry, or a disk that does not answer: setting it aside would lose it."""
    StageCache(tmp_path).get("fp32", "f00d", Maker())

    def closed(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(entries, "checksum", closed)
    with pytest.raises(StoreError, match="Permission denied"):
        StageCache(tmp_path).get("fp32", "f00d", Maker())
    assert visible(tmp_path / "fp32") == ["f00d"]
