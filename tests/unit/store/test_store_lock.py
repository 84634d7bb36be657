"""One process at a time holds a lock, whatever host it is on, and a dead one does not keep it."""

import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from qatexp.machine.processes import Process, this_process
from qatexp.store import heartbeat, lock
from qatexp.store.heartbeat import CLOCK_FILE, EXPIRY_SECONDS, clock, read_owner
from qatexp.store.lock import Lock

HOLD = """
import sys, time
from pathlib import Path
from qatexp.store.lock import Lock
assert Lock(Path(sys.argv[1])).try_acquire() is None
print("held", flush=True)
time.sleep(60)
"""
ELSEWHERE = Process(("node7", "another boot", "1"), 4242, 17.0)


@pytest.fixture
def path(tmp_path):
    heartbeat._start_anew()
    return tmp_path / "f00d.lock"


def write_lock(path, process, *, renewed=0.0):
    """A lock file as a process leaves it, renewed so many seconds ago."""
    content = {"process": process.to_json(), "since": 1.8e9, "token": "theirs"}
    path.write_text(json.dumps(content))
    now = clock(path.parent)
    os.utime(path, (now - renewed, now - renewed))


def test_a_lock_is_held_once_and_then_free_again(path):
    mine = Lock(path)
    assert mine.try_acquire() is None
    holder = Lock(path).try_acquire()
    assert holder is not None
    assert holder.process == this_process()
    assert str(holder).startswith(f"process {os.getpid()} on host {this_process().host}, since 20")
    mine.release()
    assert not path.exists()
    with Lock(path):
        assert path.exists()
    assert not path.exists()


def test_a_lock_that_is_not_held_is_not_released(path):
    with Lock(path):
        Lock(path).release()
        assert path.exists()


def test_a_killed_holder_is_noticed_at_once(path):
    """Also while its parent has not taken notice of its end: it is a zombie then."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        holder = Lock(path).try_acquire()
        assert holder.process.pid == process.pid
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Lock(path).holder() is None
        assert Lock(path).try_acquire() is None


@pytest.mark.parametrize(
    ("renewed", "is_free"), [(EXPIRY_SECONDS - 5, False), (EXPIRY_SECONDS + 5, True)]
)
def test_a_holder_on_another_host_counts_as_dead_once_its_lock_has_expired(path, renewed, is_free):
    write_lock(path, ELSEWHERE, renewed=renewed)
    holder = Lock(path).try_acquire()
    assert (holder is None) is is_free
    if holder is not None:
        assert str(holder).startswith("process 4242 on host node7, since 2027-01-1")


def test_the_clock_of_this_host_does_not_count(path, monkeypatch):
    """The file system's does, which gave the lock file its time."""
    write_lock(path, ELSEWHERE)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert Lock(path).holder() is not None
    assert (path.parent / CLOCK_FILE).stat().st_mtime < 4e9


def test_a_live_process_of_this_host_keeps_its_lock_however_long_it_stands_still(path):
    write_lock(path, this_process(), renewed=10 * EXPIRY_SECONDS)
    assert Lock(path).try_acquire() is not None


@pytest.mark.parametrize("text", ["", '{"process": "{', "[]"], ids=["empty", "cut", "other"])
def test_a_lock_file_that_cannot_be_read_expires_too(path, text):
    path.write_text(text)
    assert str(Lock(path).try_acquire()) == "a process that left no name"
    now = clock(path.parent)
    os.utime(path, (now - 2 * EXPIRY_SECONDS, now - 2 * EXPIRY_SECONDS))
    assert Lock(path).try_acquire() is None


def test_a_holder_renews_its_lock(path):
    with Lock(path):
        os.utime(path, (1, 1))
        heartbeat._heartbeat.beat()
        assert clock(path.parent) - path.stat().st_mtime < 5
    assert heartbeat._heartbeat._files == {}


def test_who_stood_still_for_too_long_leaves_the_new_holder_alone(path, caplog):
    mine = Lock(path)
    mine.try_acquire()
    write_lock(path, ELSEWHERE, renewed=30)
    before = path.stat().st_mtime
    for _ in range(2):
        heartbeat._heartbeat.beat()
    mine.release()
    assert read_owner(path).token == "theirs"
    assert path.stat().st_mtime == before
    assert caplog.text.count("is no longer this process's") == 1
    assert "now of process 4242 on host node7" in caplog.text


def test_a_dead_lock_is_not_removed_once_another_has_taken_it(path):
    """Two that wait find the same dead holder; the slower one must not free the other's lock."""
    write_lock(path, ELSEWHERE, renewed=2 * EXPIRY_SECONDS)
    slower = Lock(path)
    with Lock(path):
        assert not slower._remove("theirs", dead=True)
        assert path.exists()


def test_a_lock_that_was_renewed_in_the_last_moment_is_not_removed(path):
    write_lock(path, ELSEWHERE)
    assert not Lock(path)._remove("theirs", dead=True)


def test_a_guard_that_nobody_frees_stops_nobody(path, monkeypatch, caplog):
    monkeypatch.setattr(lock, "GUARD_SECONDS", 0.05)
    with lock.FileLock(path.with_name(lock.GUARD_FILE)):
        Lock(path).__enter__().release()
    assert not path.exists()
    assert "by a host that seems to be gone; going on without" in caplog.text


def test_who_waits_says_for_whom(path, monkeypatch):
    monkeypatch.setattr(lock, "TELL_SECONDS", 0.0)
    told, first = [], Lock(path)
    first.try_acquire()
    threading.Timer(0.3, first.release).start()
    with Lock(path, on_wait=told.append):
        pass
    assert [owner.process for owner in told] == [this_process()]


def test_an_interrupt_while_the_lock_is_made_leaves_none(path, monkeypatch, caplog):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lock, "signature", interrupted)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        Lock(path).try_acquire()
    assert not path.exists()
    assert heartbeat._heartbeat._files == {}


def test_a_copy_of_the_process_neither_renews_nor_releases(path):
    with Lock(path) as held:
        child = os.fork()
        if child == 0:
            held.release()
            os._exit(len(heartbeat._heartbeat._files))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert path.exists()
