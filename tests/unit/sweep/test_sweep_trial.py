"""What a trial finds before it starts: earlier attempts, and too many failures beside it."""

import os

import pytest

from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig
from qatexp.config.variables import SWEEP_STARTED
from qatexp.errors import StoreError, TrackingError
from qatexp.pipeline import write_record
from qatexp.records import Record, load_record
from qatexp.records.plan import Point, SweepPlan
from qatexp.sweep.planning import write_plan
from qatexp.sweep.trial import (
    attempt,
    earlier_run,
    mark_started,
    planned_fingerprint,
    skipped,
    too_many_failures,
)


@pytest.fixture
def failed(tmp_path):
    """Write failed records, some of them before the sweep was started."""

    def write(number, modified):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_record(Record("x", "failed", {}), folder)
        os.utime(folder / "record.json", (modified, modified))

    return write


@pytest.mark.parametrize(
    ("most", "expected"), [(None, False), (1, True), (2, True), (3, False)], ids=str
)
def test_failures_since_the_start_count(tmp_path, monkeypatch, failed, most, expected):
    monkeypatch.setenv(SWEEP_STARTED, "1000.0")
    for number, modified in enumerate((900, 1001, 1002)):
        failed(number, modified)
    assert too_many_failures(tmp_path / "3", most) is expected


def test_a_trial_that_does_not_start_says_why():
    record = skipped("x", {"seed": 0}, 2)
    assert record.status == "skipped"
    assert record.error["message"] == "not started, as sweep.max_failures=2 trials had failed"


def test_the_run_of_an_earlier_attempt_is_found(tmp_path):
    assert earlier_run(tmp_path) is None
    write_record(Record("x", "running", {}, mlflow_run_id="f00d"), tmp_path)
    assert earlier_run(tmp_path) == "f00d"


def test_a_trial_is_what_its_plan_calls_it(tmp_path):
    assert planned_fingerprint(tmp_path / "1") is None
    write_plan(SweepPlan((), (Point(0, (), "a"), Point(1, (), "b"))), tmp_path)
    assert planned_fingerprint(tmp_path / "1") == "b"
    assert planned_fingerprint(tmp_path / "2") is None


def test_a_new_attempt_is_not_what_the_last_one_was(tmp_path):
    mark_started(tmp_path)  # there was none
    error = {"stage": "qat", "kind": "training", "message": "diverged"}
    write_record(Record("x", "failed", {}, mlflow_run_id="f00d", error=error), tmp_path)
    mark_started(tmp_path)
    record = load_record(tmp_path)
    assert (record.status, record.error, record.mlflow_run_id) == ("running", None, "f00d")


CONFIG = ExperimentConfig("x", ModelConfig("a.b"), DatasetConfig("a.b"))


@pytest.mark.parametrize(
    ("problem", "stage", "status"),
    [
        (TrackingError("the server is gone"), "tracking", "failed"),
        (StoreError("the disk is full"), "start", "failed"),
        (RuntimeError("a defect"), "start", "failed"),
        (KeyboardInterrupt(), "start", "interrupted"),
    ],
    ids=["tracking", "store", "defect", "Ctrl-C"],
)
def test_a_trial_that_fails_before_its_first_stage_says_why(tmp_path, problem, stage, status):
    write_plan(SweepPlan((), (Point(0, (), "new"),)), tmp_path)
    folder = tmp_path / "0"
    folder.mkdir()
    write_record(
        Record("x", "finished", {}, mlflow_run_id="f00d", fingerprints={"config": "old"}), folder
    )
    with pytest.raises(type(problem)), attempt(CONFIG, folder):
        raise problem
    record = load_record(folder)
    assert (record.status, record.error["stage"]) == (status, stage)
    assert record.error["message"] == (str(problem) or "interrupted")
    assert record.fingerprints == {"config": "new"}
    assert record.mlflow_run_id == "f00d"  # to be marked as superseded by the next attempt


def test_the_record_that_a_run_has_written_stays(tmp_path):
    def run():
        with attempt(CONFIG, tmp_path):
            write_record(Record("x", "pruned", {}), tmp_path)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert load_record(tmp_path).status == "pruned"
