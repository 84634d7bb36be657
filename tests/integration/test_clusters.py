"""Sweeps on a real Ray cluster of this machine, and on submitit's local executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from command import SMALL_SWEEP, qatexp, trials

from qatexp.records import load_record

pytestmark = pytest.mark.slow


def mlflow_runs(home):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/multirun/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name == "qatexp")
    return client.search_runs([experiment.experiment_id])


@pytest.mark.xdist_group("small sweep")
def test_a_ray_cluster_gives_the_figures_of_a_serial_sweep(small_sweep, tmp_path):
    pytest.importorskip("ray")
    outcome = qatexp(
        tmp_path, *SMALL_SWEEP, "hydra/launcher=ray", "hydra.launcher.init={num_cpus:2}",
        timeout=900,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "2 trials on Ray (1 machine); 1 CPUs, 0 GPUs for each trial" in outcome.err
    found = trials(outcome)
    for trial in found:  # which of both has the other one beside it is left to Ray
        trial["warnings"] = tuple(text for text in trial["warnings"] if "other trial" not in text)
    assert found == [{**t, "warnings": tuple(t["warnings"])} for t in trials(small_sweep)]
    assert sorted(record.cached["fp32"] for record in outcome.trial_records()) == [False, True]
    (parent,) = (run for run in mlflow_runs(tmp_path) if "mlflow.parentRunId" not in run.data.tags)
    children = {record.mlflow_run_id for record in outcome.trial_records()}
    assert len(children) == 2
    for run in mlflow_runs(tmp_path):
        assert run.info.status == "FINISHED"
        if run.info.run_id != parent.info.run_id:
            assert run.info.run_id in children
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def job_of_trial(command: psutil.Process, sweep: Path, number: int) -> psutil.Process | None:
    """The job that has started the process of a trial, once its record says running.

    It is looked for below the test's own command alone: nothing else may be killed.
    """
    if not (sweep / str(number) / "record.json").exists():
        return None
    for process in command.children(recursive=True):
        try:
            if f"/{sweep.name}/{number}'" in " ".join(process.cmdline()):
                return process.parent()
        except psutil.NoSuchProcess:
            continue
    return None


def test_a_job_that_is_killed_is_one_failed_trial_and_runs_again_alone(tmp_path):
    pytest.importorskip("submitit")
    command = [*SMALL_SWEEP, "debug=fast", "hydra/launcher=submitit_local"]
    program = str(Path(sys.executable).with_name("qatexp"))
    with subprocess.Popen([program, *command], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        limit, job = time.monotonic() + 300, None
        while job is None and time.monotonic() < limit and process.poll() is None:
            time.sleep(0.2)
            for sweep in (tmp_path / "multirun" / "sweep").glob("[!.]*"):
                job = job_of_trial(psutil.Process(process.pid), sweep, 1)
        if job is not None:
            (trial,) = job.children()
            os.kill(job.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=900)
    assert job is not None, err.decode()
    assert process.returncode == 1, err.decode()
    assert not trial.is_running(), "it ends with its job"
    records = [load_record(sweep / str(number)) for number in range(2)]
    assert [record.status for record in records] == ["finished", "failed"]
    assert records[1].error["stage"] == "process"
    assert records[1].error["message"].startswith("its job ")
    assert [run.info.status for run in mlflow_runs(tmp_path) if run.info.status == "RUNNING"] == []

    again = qatexp(tmp_path, *command, timeout=900)
    assert again.code == 0, again.err
    assert "1 of 2 trials are finished already" in again.err
    after = again.trial_records()
    assert [record.status for record in after] == ["finished", "finished"]
    assert after[0] == records[0]
