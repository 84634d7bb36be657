"""How a run ends in MLflow, whatever else goes wrong."""

import logging

import pytest

from qatexp import pipeline
from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig
from qatexp.errors import TrackingError, TrainingError
from qatexp.records import load_record

CONFIG = ExperimentConfig("x", ModelConfig("a.b"), DatasetConfig("a.b"))


class Tracker:
    """Takes no artifacts, as a store whose disk is full."""

    run_id = "f00d"

    def __init__(self):
        self.ends = []

    def log_artifacts(self, paths, *, folder=None):
        raise TrackingError("the disk is full")

    def log_dataset(self, **_):
        raise TrackingError("the disk is full")

    def finish(self, *, status, metrics, tags):
        self.ends.append((status, dict(metrics), dict(tags)))


class Data:
    fingerprint = "beef"
    warnings = ()

    def summary(self):
        return {}


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Run the pipeline with stages that end in a given way; returns record and tracker."""

    def run(stages, tracker):
        monkeypatch.setattr(pipeline, "_run_stages", stages)
        monkeypatch.setattr(pipeline.Record, "metrics", lambda _: {"qat/top1": 90.0})
        record = pipeline.run(CONFIG, tmp_path, tracker=tracker)
        assert load_record(tmp_path) == record
        return record

    return run


def finishes(context, record):
    context.data = Data()
    return pipeline.replace(record, status="finished")


def fails(context, record):
    raise TrainingError("the loss is not finite")


def is_stopped(context, record):
    context.current = "qat"
    raise SystemExit(143)


def is_interrupted(context, record):
    context.current = "qat"
    raise KeyboardInterrupt


@pytest.mark.parametrize(("stages", "status"), [(finishes, "FINISHED"), (fails, "FAILED")])
def test_figures_and_status_are_logged_though_artifacts_cannot(ended, caplog, stages, status):
    tracker = Tracker()
    with caplog.at_level(logging.WARNING):
        record = ended(stages, tracker)
    assert record.warnings[-1] == "the disk is full"
    ((logged, metrics, tags),) = tracker.ends
    assert (logged, metrics) == (status, {"qat/top1": 90.0})
    assert tags["qatexp.warnings"] == "the disk is full"
    assert "the disk is full" in caplog.text


def test_a_failed_record_is_a_failed_run(ended):
    tracker = Tracker()
    ended(fails, tracker)
    ((status, _, tags),) = tracker.ends
    assert status == "FAILED"
    assert tags["qatexp.error"] == "data: the loss is not finite"


@pytest.mark.parametrize(
    ("stages", "stop"),
    [(is_stopped, SystemExit), (is_interrupted, KeyboardInterrupt)],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_a_run_that_was_stopped_says_interrupted_and_where(ended, tmp_path, capsys, stages, stop):
    tracker = Tracker()
    with pytest.raises(stop):
        ended(stages, tracker)
    ((status, _, tags),) = tracker.ends
    assert (status, tags["qatexp.status"]) == ("KILLED", "interrupted")
    record = load_record(tmp_path)
    assert record.status == "interrupted"
    assert record.error == {"stage": "qat", "kind": stop.__name__, "message": "interrupted"}


def test_the_traceback_of_an_interrupt_is_for_the_log_file_alone(ended, caplog):
    with pytest.raises(KeyboardInterrupt), caplog.at_level(logging.INFO):
        ended(is_interrupted, None)
    assert [item.name for item in caplog.records if item.exc_info] == ["qatexp.details"]


def test_a_store_that_takes_no_end_costs_a_warning(ended, monkeypatch):
    tracker = Tracker()

    def finish(**_):
        raise TrackingError("no answer")

    monkeypatch.setattr(tracker, "finish", finish)
    assert ended(fails, tracker).warnings == ("the disk is full", "no answer")
