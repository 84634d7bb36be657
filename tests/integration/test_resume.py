"""A sweep that is killed goes on with the same command, and ends as an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import SMALL_SWEEP, Outcome, qatexp, trials

from qatexp.records import load_record

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("small sweep")]


def killed(home: Path, when: str) -> None:
    """Start the sweep, and kill its whole process group once `when` appears in its log."""
    command = [str(Path(sys.executable).with_name("qatexp")), *SMALL_SWEEP]
    with subprocess.Popen(
        command, cwd=home, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if when in line:
                os.killpg(process.pid, signal.SIGKILL)
                return
    pytest.fail(f"the sweep ended without {when!r} in its log")


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> Outcome:
    """Killed in its first trial, and again in its second one; then run to its end."""
    home = tmp_path_factory.mktemp("killed")
    killed(home, "qat epoch 1/1")
    killed(home, "ptq done")
    return qatexp(home, *SMALL_SWEEP)


def test_records_are_those_of_an_undisturbed_sweep(small_sweep, resumed):
    assert (small_sweep.code, resumed.code) == (0, 0), resumed.err
    assert trials(resumed) == trials(small_sweep)


def test_every_trial_is_finished_once_and_nothing_stays_running(resumed):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{resumed.home}/multirun/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name == "qatexp")
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "FINISHED"
    finished = [run.info.run_id for run in children if run.info.status == "FINISHED"]
    named = [str(record.mlflow_run_id) for record in resumed.trial_records()]
    assert sorted(finished) == sorted(named)
    assert {run.info.status for run in children} == {"FINISHED", "KILLED"}


def test_finished_stages_are_not_computed_again(resumed):
    """The baseline was trained in the first attempt, and QAT of the first trial in it too."""
    first, second = resumed.trial_records()
    assert first.cached["fp32"]
    assert first.cached["ptq"]
    assert second.cached["fp32"]
    assert second.cached["evaluate_fp32"]


def test_the_same_command_again_does_nothing(resumed):
    again = qatexp(resumed.home, *SMALL_SWEEP)
    assert again.code == 0, again.err
    assert len(again.runs("sweep")) == 1
    assert "All trials were finished already" in again.out
    assert "fp32 ..." not in again.err


def test_a_folder_is_enough_to_go_on(resumed):
    (folder,) = resumed.runs("sweep")
    again = qatexp(resumed.home, "-m", f"sweep.resume={folder}")
    assert again.code == 0, again.err
    assert "All trials were finished already" in again.out


def test_after_too_many_failures_no_further_trial_starts(tmp_path):
    points = tmp_path / "points.yaml"
    points.write_text("".join(f"- {{schedule.qat.lr_scale: {rate}}}\n" for rate in (1e30, 1e31, 1)))
    common = [item for item in SMALL_SWEEP if not item.startswith("qconfig")]
    outcome = qatexp(tmp_path, *common, f"sweep.points={points}", "sweep.max_failures=1")
    assert outcome.code == 1
    (folder,) = outcome.runs("sweep")
    found = [load_record(folder / str(number)) for number in range(3)]
    assert [record.status for record in found] == ["failed", "skipped", "skipped"]
    assert found[0].error["kind"] == "non_finite_loss"
    assert "NonFiniteLossError" in found[0].error["traceback"]
    assert "not started, as sweep.max_failures=1" in " ".join(outcome.out.split())
