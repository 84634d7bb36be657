"""Ctrl-C and SIGTERM: one line, a record that says so, and a sweep that compares what it has."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import SHORT, Outcome, qatexp

from qatexp.records import load_record

pytestmark = pytest.mark.slow


def stopped(home: Path, number: int, when: str, *arguments: str) -> Outcome:
    """Start the command, and send the signal once `when` appears in a line of its log."""
    command = [str(Path(sys.executable).with_name("qatexp")), *arguments]
    lines = []
    with subprocess.Popen(command, cwd=home, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if when in line:
                process.send_signal(number)
    return Outcome(process.returncode, "", "".join(lines), home)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_run_that_is_interrupted_says_so_in_one_line(tmp_path, number, code):
    outcome = stopped(tmp_path, number, "fp32 epoch 1/", "tracking=none", "schedule.fp32.epochs=99")
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    folder = outcome.runs()[0]
    assert outcome.err.splitlines()[-2:] == [
        "qatexp: interrupted in fp32; finished stages are kept, "
        "the same command goes on from there",
        f"qatexp: the run's folder is {folder.relative_to(tmp_path)}",
    ]
    assert load_record(folder).status == "interrupted"
    assert "Traceback" in (folder / "qatexp.log").read_text()


def test_an_interrupted_sweep_compares_what_it_has(tmp_path):
    from mlflow import MlflowClient

    outcome = stopped(
        tmp_path, signal.SIGINT, "#1 :", "-m", *SHORT, "schedule.qat.lr_scale=0.1,0.2,0.3"
    )
    assert outcome.code == 130, outcome.err
    assert "Traceback" not in outcome.err
    (folder,) = outcome.runs("sweep")
    assert {"compare.csv", "compare.md", "compare.html", "pareto.png"} <= {
        path.name for path in folder.iterdir()
    }
    again = qatexp(tmp_path, "compare", str(folder))
    assert "of 3 trials" in again.out
    client = MlflowClient(f"sqlite:///{tmp_path}/multirun/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name == "qatexp")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert parent.info.status == "KILLED"
    assert "compare.md" in {item.path for item in client.list_artifacts(parent.info.run_id)}
