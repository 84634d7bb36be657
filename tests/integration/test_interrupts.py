"""Ctrl-C and SIGTERM: one line, a record that says so, and a sweep that compares what it has."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import SHORT, Outcome, comparable, qatexp

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


def test_a_run_that_was_killed_continues_bit_for_bit(tmp_path):
    """SIGKILL leaves no time to write anything: what counts is the last checkpoint."""
    from mlflow import MlflowClient

    command = [
        "schedule.fp32.epochs=1", "schedule.qat.epochs=5", "qconfig.weight.bits=2",
        "schedule.qat.progressive.bits=[4]", "measure.rounds=3", "trainer.checkpoint_seconds=0",
    ]  # fmt: skip
    for name in ("killed", "undisturbed"):
        (tmp_path / name).mkdir()
    outcome = stopped(tmp_path / "killed", signal.SIGKILL, "qat epoch 2/", *command)
    assert outcome.code == -signal.SIGKILL, outcome.err
    stages = tmp_path / "killed" / "multirun" / ".stages"
    assert [path.parent.name for path in stages.glob("*/*.partial")] == ["qat"]

    continued = qatexp(tmp_path / "killed", *command)
    assert continued.code == 0, continued.err
    record = continued.record()
    assert set(record.resumed) == {"qat"}
    done = record.resumed["qat"]
    assert 1 <= done < 5
    assert f"qat continues after epoch {done} of 5" in continued.err
    assert record.cached["fp32"]
    assert not record.cached["qat"]
    assert list(stages.glob("*/*.partial")) == []
    client = MlflowClient(f"sqlite:///{tmp_path}/killed/multirun/mlflow.db")
    epochs = client.get_metric_history(record.mlflow_run_id, "qat_epochs/loss")
    assert [point.step for point in epochs] == list(range(1, 6))

    undisturbed = qatexp(tmp_path / "undisturbed", *command, "tracking=none", "cache.enabled=false")
    assert undisturbed.code == 0, undisturbed.err
    assert undisturbed.record().resumed == {}
    assert comparable(record) == comparable(undisturbed.record())
    files = [item.folder / "artifacts" / "qat.onnx" for item in (continued, undisturbed)]
    assert files[0].read_bytes() == files[1].read_bytes()
