"""Runs of processes that were killed are told from those that are alive."""

import json
import subprocess
import sys

import pytest

from qatexp.tracking.processes import is_dead, this_process

OF_ANOTHER = """
import sys
from qatexp.tracking.processes import this_process
print(this_process())
"""


def test_this_process_is_alive():
    assert not is_dead(this_process())


def test_a_process_that_has_ended_is_dead():
    done = subprocess.run(
        [sys.executable, "-c", OF_ANOTHER], capture_output=True, text=True, check=True
    )
    assert is_dead(done.stdout.strip())


def test_a_number_that_another_process_has_now_is_not_that_process():
    found = json.loads(this_process())
    assert is_dead(json.dumps({**found, "started": found["started"] - 100}))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            json.dumps({"place": ["elsewhere"], "pid": 1, "started": 0.0}), id="other host"
        ),
        pytest.param("", id="no tag"),
        pytest.param("{}", id="other layout"),
    ],
)
def test_of_what_cannot_be_known_nothing_is_closed(text):
    assert not is_dead(text)
