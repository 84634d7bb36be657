"""Trials at the same time, each in a process of its own, give what a serial sweep gives."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from command import SMALL_SWEEP, Outcome, qatexp, trials

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("small sweep")]


COMMAND = (*SMALL_SWEEP, "hydra/launcher=local", "hydra.launcher.slots=2")


@pytest.fixture(scope="module")
def local(tmp_path_factory) -> Outcome:
    return qatexp(tmp_path_factory.mktemp("local"), *COMMAND)


def undisturbed(outcome: Outcome) -> list[dict]:
    """What records hold beside the warning that another trial ran at the same time."""
    found = trials(outcome)
    for trial in found:
        trial["warnings"] = [text for text in trial["warnings"] if "other trial" not in text]
    return found


def test_figures_are_those_of_a_serial_sweep(small_sweep, local):
    assert local.code == 0, local.err
    for trial in trials(local):
        assert sum("up to 1 other trial" in text for text in trial["warnings"]) == 1
    assert undisturbed(local) == undisturbed(small_sweep)


def is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: a container without an init keeps it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_sweep_that_is_killed_takes_its_trials_with_it_and_goes_on(small_sweep, tmp_path):
    """SIGKILL leaves the sweep no time to end them, and the next one must not meet them."""
    program = str(Path(sys.executable).with_name("qatexp"))
    with subprocess.Popen([program, *COMMAND], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        limit, records = time.monotonic() + 300, []
        while len(records) < 2 and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.1)
            records = list((tmp_path / "multirun" / "sweep").glob("[!.]*/*/record.json"))
        running = psutil.Process(process.pid).children(recursive=True)
        commands = [trial.cmdline() for trial in running]
        process.kill()
    assert sum("qatexp" in command for command in commands) == 2
    limit = time.monotonic() + 30
    while any(map(is_alive, running)) and time.monotonic() < limit:
        time.sleep(0.1)
    assert [trial.pid for trial in running if is_alive(trial)] == []

    again = qatexp(tmp_path, *COMMAND)
    assert again.code == 0, again.err
    assert undisturbed(again) == undisturbed(small_sweep)


def test_the_baseline_is_trained_once(local):
    assert sorted(record.cached["fp32"] for record in local.trial_records()) == [False, True]


def test_every_metric_reaches_the_store(local):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{local.home}/multirun/mlflow.db")
    for record in local.trial_records():
        run = client.get_run(record.mlflow_run_id)
        assert run.info.status == "FINISHED"
        missing = record.metrics().keys() - run.data.metrics.keys()
        assert missing == set()
        for stage in ("fp32", "qat"):
            assert len(client.get_metric_history(run.info.run_id, f"{stage}_epochs/loss")) == 1


def test_a_plain_terminal_has_a_line_for_each_start_and_end(local):
    for number, bits in enumerate((8, 2)):
        assert f"trial {number} starts: qconfig.bits={bits}" in local.err
        assert f"trial {number} finished after" in local.err
