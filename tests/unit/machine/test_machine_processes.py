"""Processes that have ended are told from those that are alive."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from qatexp.machine.processes import Process, process_of, this_process

OF_ANOTHER = """
from qatexp.machine.processes import this_process
print(this_process().to_json())
"""


def test_this_process_is_alive():
    assert this_process().is_here
    assert not this_process().is_dead
    assert process_of(this_process().to_json()) == this_process()


def test_a_process_that_has_ended_is_dead():
    done = subprocess.run(
        [sys.executable, "-c", OF_ANOTHER], capture_output=True, text=True, check=True
    )
    assert process_of(done.stdout.strip()).is_dead


def test_a_process_whose_parent_has_not_noticed_its_end_is_dead():
    """In a container without an init nobody ever does."""
    with subprocess.Popen(
        [sys.executable, "-c", OF_ANOTHER], stdout=subprocess.PIPE, text=True
    ) as process:
        described = process.stdout.read().strip()  # to its end
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_of(described).is_dead
        assert process.returncode is None


def test_a_number_that_another_process_has_now_is_not_that_process():
    own = this_process()
    assert replace(own, started=own.started - 100).is_dead


def test_of_another_place_nothing_is_known():
    there = Process(("elsewhere",), 1, 0.0)
    assert not there.is_here
    assert not there.is_dead
    assert there.host == "elsewhere"


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", json.dumps({"place": [], "pid": 1, "started": 0.0})],
    ids=["empty", "other layout", "list", "no place"],
)
def test_what_is_no_process_is_none(text):
    assert process_of(text) is None


def test_a_machine_that_was_started_anew_has_none_of_its_old_processes():
    own = this_process()
    if len(own.place) == 1:
        pytest.skip("this system does not number its starts")
    before = replace(own, place=(own.place[0], "another start", *own.place[2:]))
    elsewhere = replace(before, place=("another host", *before.place[1:]))
    assert before.is_of_earlier_boot
    assert not before.is_dead, "a name is not proof enough to take its locks"
    assert not own.is_of_earlier_boot
    assert not elsewhere.is_of_earlier_boot
