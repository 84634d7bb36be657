"""Only what the rules name is deleted, and never what a process computes or uses."""

import os

import pytest

from qatexp.cache.items import DECODED, WRITING_SECONDS
from qatexp.cache.prune import Rules, chosen, prune
from qatexp.cache.quantities import bytes_of, seconds_of
from qatexp.errors import ConfigError
from qatexp.store.entries import set_aside
from qatexp.store.lock import Lock
from qatexp.store.stage_cache import StageCache
from qatexp.store.uses import read_uses

DAY = 86_400


def hashes(project, **rules):
    return [item.hash for item in chosen(project.items(), Rules(**rules))]


@pytest.fixture
def full(project):
    """One of everything: old and young, needed and not."""
    project.entry("fp32", "a1", idle=40 * DAY, size=9000)
    project.entry("fp32", "a2", idle=2 * DAY)
    project.entry("qat", "b1", idle=20 * DAY, size=2000)
    project.record("single/first", fp32="a1")
    project.stem("c1", "b1")
    project.stem("c2", "lost")
    project.partial("qat", "d1")
    set_aside(project.entry("ptq", "e1"))
    (project.root / DECODED).mkdir()
    decoded = project.root / DECODED / "digits-train-1.npz"
    decoded.write_text("x")
    os.utime(decoded, (1e9, 1e9))
    return project


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param({"idle_seconds": 30 * DAY}, ["digits-train-1", "a1"], id="older"),
        pytest.param({"larger_than_bytes": 1500}, ["a1", "b1"], id="larger"),
        pytest.param({"damaged": True}, ["e1"], id="damaged"),
        pytest.param({"partial": True}, ["c2", "d1", "d1"], id="partial"),
        pytest.param({"partial": True, "damaged": True}, ["c2", "d1", "d1", "e1"], id="both"),
        pytest.param({"unused": True, "stage": "fp32"}, ["a2"], id="unused of a stage"),
        pytest.param({"unused": True, "idle_seconds": 10 * DAY}, ["b1"], id="unused and older"),
        pytest.param({"unused": True, "partial": True}, ["c2", "d1", "d1"], id="unused partial"),
    ],
)
def test_all_rules_that_are_given_hold(full, rules, expected):
    assert sorted(hashes(full, **rules)) == sorted(expected)


def test_the_least_recently_used_go_until_the_rest_fits(full):
    total = sum(item.size_bytes for item in full.items())
    assert hashes(full, keep_bytes=total) == []
    assert hashes(full, keep_bytes=total - 1) == ["digits-train-1"]
    assert hashes(full, keep_bytes=total - 9000, stage="fp32") == ["a1"]
    assert len(hashes(full, keep_bytes=0)) == len(full.items())


def test_a_stage_alone_is_no_rule():
    assert not Rules(stage="fp32").are_given
    assert Rules(keep_bytes=0).are_given
    assert Rules(damaged=True).are_given


def test_what_is_chosen_is_deleted_and_the_rest_stays(full):
    before = full.names()
    found = chosen(full.items(), Rules(partial=True, damaged=True))
    pruned = prune(found, full.root)
    assert (list(pruned.deleted), pruned.spared) == (found, ())
    gone = {("qat_stem", "c2", "stem"), ("qat", "d1", "partial"), ("ptq", "e1", "damaged")}
    assert full.names() == before - gone
    assert not list(full.root.glob("*/.[!gc]*"))
    assert not list(full.root.glob("*/*.lock"))


def test_an_entry_that_a_run_uses_is_not_chosen(project):
    project.entry("fp32", "aa", idle=40 * DAY)
    cache = StageCache(project.root)
    folder = cache.find("fp32", "aa")
    project.age(folder, 40 * DAY)
    assert hashes(project, idle_seconds=30 * DAY) == []
    del cache
    assert hashes(project, idle_seconds=30 * DAY) == ["aa"]


@pytest.mark.parametrize("taker", ["lock", "use", "touch", "gone"])
def test_what_was_taken_since_it_was_listed_is_spared(project, taker):
    folder = project.entry("fp32", "aa", idle=40 * DAY)
    listed = chosen(project.items(), Rules(idle_seconds=30 * DAY))
    lock, cache = Lock(project.root / "fp32" / "aa.lock"), StageCache(project.root)
    if taker == "lock":
        lock.try_acquire()
    elif taker == "use":
        state = folder.stat()
        cache.find("fp32", "aa")
        os.utime(folder, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif taker == "touch":
        os.utime(folder)
    else:
        folder.rename(project.home / "elsewhere")
    pruned = prune(listed, project.root)
    assert (pruned.deleted, list(pruned.spared)) == ((), listed)
    assert folder.exists() is (taker != "gone")
    lock.release()


def test_a_checkpoint_of_a_training_that_runs_stays(project):
    project.partial("qat", "cc")
    with Lock(project.root / "qat" / "cc.lock"):
        assert hashes(project, partial=True) == []


def test_images_that_are_being_decoded_stay(project):
    (project.root / DECODED).mkdir()
    path = project.root / DECODED / "digits-train-1.npz.1.tmp"
    path.write_text("half")
    assert hashes(project, partial=True) == []
    project.age(path, WRITING_SECONDS + 60)
    assert hashes(project, partial=True) == ["digits-train-1.npz.1"]


def test_decoded_images_are_deleted_by_their_last_reading(project):
    (project.root / DECODED).mkdir()
    path = project.root / DECODED / "digits-train-1.npz"
    path.write_text("x")
    now = path.stat().st_mtime
    os.utime(path, (now, now - 40 * DAY))
    assert hashes(project, idle_seconds=30 * DAY) == []
    os.utime(path, (now - 35 * DAY, now - 40 * DAY))
    prune(chosen(project.items(), Rules(idle_seconds=30 * DAY)), project.root)
    assert not path.exists()


def test_a_killed_runs_use_is_forgotten_once_it_cannot_go_on(project):
    run = project.record("single/first", "running")
    project.killed(run, "fp32", "aa")
    prune([], project.root)
    assert len(read_uses(project.root)) == 1
    assert hashes(project, unused=True) == []
    (run / "record.json").unlink()
    prune([], project.root)
    assert read_uses(project.root) == []
    assert hashes(project, unused=True) == ["aa"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("10GB", 10**10), ("1.5 MiB", 1_572_864), ("512", 512), ("3kb", 3000), ("0", 0)],
)
def test_sizes_are_read(text, count):
    assert bytes_of("--keep-bytes", text) == count


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY), ("12h", 43_200), ("2 w", 14 * DAY)]
)
def test_spans_of_time_are_read(text, seconds):
    assert seconds_of("--older-than", text) == seconds


@pytest.mark.parametrize("text", ["30", "d", "-1d", "30 days", ""])
def test_what_is_no_span_of_time_is_refused(text):
    with pytest.raises(ConfigError) as problem:
        seconds_of("--older-than", text)
    assert str(problem.value) == (
        f"--older-than={text}: allowed is a number with s, min, h, d or w, such as 30d."
    )


@pytest.mark.parametrize("text", ["10XB", "GB", "1e9"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"^--keep-bytes=.*: allowed is a number of bytes, or"):
        bytes_of("--keep-bytes", text)
