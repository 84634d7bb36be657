"""How runs are called in MLflow, and what a trial leaves that cannot be tracked."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from qatexp.cli import task as module
from qatexp.cli.task import _run_name, task
from qatexp.config.schema import DatasetConfig, DebugConfig, ExperimentConfig, ModelConfig
from qatexp.config.variables import PARENT_RUN
from qatexp.errors import TrackingError
from qatexp.pipeline import write_record
from qatexp.records import Record, load_record
from qatexp.records.plan import Point, SweepPlan
from qatexp.sweep.planning import write_plan

CONFIG = ExperimentConfig("net", ModelConfig("a.b"), DatasetConfig("a.b"))


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        pytest.param([], "net", id="no overrides"),
        pytest.param(
            ["qconfig=w4a4", "schedule.qat.lr_scale=0.5"], "net qconfig=w4a4 lr_scale=0.5",
            id="last parts of keys",
        ),
        pytest.param(
            ["schedule.fp32.epochs=2", "schedule.qat.epochs=1", "seed=3"],
            "net fp32.epochs=2 qat.epochs=1 seed=3",
            id="keys with the same last part",
        ),
        pytest.param(
            ["model.checkpoint=a=b.pth"], "net checkpoint=a=b.pth", id="a value with an equals sign"
        ),
    ],
)  # fmt: skip
def test_a_run_is_named_by_its_overrides(overrides, name, tmp_path, monkeypatch):
    monkeypatch.delenv(PARENT_RUN, raising=False)
    assert _run_name(CONFIG, tmp_path, overrides) == name


def test_a_trial_is_named_by_its_number_and_what_is_its_own(tmp_path, monkeypatch):
    """MLflow's lists and legends cut names: what all trials share must not come first."""
    monkeypatch.setenv(PARENT_RUN, "abc")
    points = [["trainer.threads=1", f"qconfig.bits={bits}", "seed=3"] for bits in (8, 2)]
    plan = SweepPlan((), tuple(Point(i, tuple(own), str(i)) for i, own in enumerate(points)))
    write_plan(plan, tmp_path)
    assert _run_name(CONFIG, tmp_path / "1", points[1]) == "1: bits=2 (net)"


def test_a_trial_of_a_sweep_without_a_plan_has_all_its_overrides(tmp_path, monkeypatch):
    monkeypatch.setenv(PARENT_RUN, "abc")
    assert _run_name(CONFIG, tmp_path / "4", ["seed=3"]) == "4: seed=3 (net)"


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """Run one trial of a sweep whose tracking server has gone, in this process."""
    hydra = SimpleNamespace(
        runtime=SimpleNamespace(output_dir=str(tmp_path / "0")),
        overrides=SimpleNamespace(task=[]),
        mode=RunMode.MULTIRUN,
    )
    (tmp_path / "0").mkdir()
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)

    def gone(*_, **__):
        raise TrackingError("tracking.uri=http://mlflow: no answer")

    monkeypatch.setattr("qatexp.tracking.open_store", gone)

    def run(config):
        monkeypatch.setattr(module, "_parser", SimpleNamespace(parse=lambda _: config))
        task({})
        return load_record(tmp_path / "0")

    return run


@pytest.mark.parametrize("traceback", [False, True], ids=["plain", "debug"])
def test_a_trial_that_cannot_be_tracked_has_failed(trial, traceback, tmp_path, caplog):
    """Also where an earlier attempt, of other code perhaps, was finished."""
    write_record(Record("net", "finished", {}), tmp_path / "0")
    record = trial(replace(CONFIG, debug=DebugConfig(traceback=traceback)))
    assert record.status == "failed"
    assert (record.error["stage"], record.error["kind"]) == ("tracking", "tracking")
    assert record.error["message"] == "tracking.uri=http://mlflow: no answer"
    assert ("Traceback" in caplog.text) is traceback
