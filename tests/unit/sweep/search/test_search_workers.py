"""Who works on a search, on this host or on another one."""

import json
import os

import pytest

from qatexp.machine.processes import Process
from qatexp.store.heartbeat import EXPIRY_SECONDS, clock
from qatexp.sweep.search.workers import Worker, has_workers


def test_a_worker_lives_as_long_as_it_works(tmp_path):
    with Worker(tmp_path) as mine, Worker(tmp_path) as other:
        assert mine.is_alive(mine.name)
        assert mine.is_alive(other.name)
        assert has_workers(tmp_path)
    assert not mine.is_alive(other.name)
    assert not has_workers(tmp_path)


@pytest.mark.parametrize(
    ("renewed", "is_alive"), [(0.0, True), (EXPIRY_SECONDS + 5, False)], ids=["now", "long ago"]
)
def test_a_worker_of_another_host_lives_as_long_as_it_renews_its_lock(tmp_path, renewed, is_alive):
    """No lock of this host's kernel is asked, which may not know of the other one's."""
    with Worker(tmp_path) as mine:
        path = tmp_path / ".workers" / "node7-4242-1"
        elsewhere = Process(("node7", "another boot", "1"), 4242, 17.0).to_json()
        path.write_text(json.dumps({"process": elsewhere, "since": 1.8e9, "token": "theirs"}))
        now = clock(path.parent)
        os.utime(path, (now - renewed, now - renewed))
        assert mine.is_alive(path.name) is is_alive
        assert path.exists()
