"""Runs read back from a store, for comparisons."""

import json

import pytest

from qatexp.compare.logged import from_mlflow
from qatexp.compare.report import report
from qatexp.config.schema import TrackingConfig
from qatexp.errors import StoreError, TrackingError
from qatexp.records import Record
from qatexp.tracking import LoggedRun, LoggedRuns, overrides_text, read_runs
from qatexp.tracking.view import ANALYSIS_KIND, RERUN_KIND


@pytest.fixture
def log_run(store, tmp_path):
    def log(bits, *, status="finished", parent=None, kind="single", overrides="seed=0"):
        record = Record(name=f"W{bits}", status=status, params={"qconfig.bits": bits})
        path = tmp_path / "record.json"
        path.write_text(json.dumps(record.to_dict()))
        tags = {"qatexp.overrides": overrides}
        run = store.start_run(name="x", params={}, tags=tags, parent_run_id=parent, kind=kind)
        run.log_artifacts([path])
        run.finish(status="FINISHED", metrics={}, tags={})
        return run.run_id

    return log


def test_runs_become_trials_with_their_sweep_and_command(home, store, log_run, tmp_path):
    sweep_id = store.start_sweep(name="sweep 2026", tags={}, note="")
    spaced = "qconfig.bits=4 name='my net' +model.width=8 ~sweep"
    ids = [log_run(4, parent=sweep_id, overrides=spaced), log_run(8)]
    log_run(2, kind=ANALYSIS_KIND)
    store.finish_sweep(sweep_id, status="FINISHED", metrics={}, note="", artifacts=[])
    (tmp_path / "copies").mkdir()
    found = read_runs(TrackingConfig(), home=home, to=tmp_path / "copies")
    assert [(run.run_id, run.sweep) for run in found.runs] == [(ids[0], "sweep 2026"), (ids[1], "")]
    sweep = from_mlflow(found, experiment="qatexp", home=tmp_path)
    assert [trial.name for trial in sweep.trials] == [run_id[:8] for run_id in ids]
    assert [trial.sweep for trial in sweep.trials] == ["A", "B"]
    assert sweep.sources == {"A": "sweep 2026", "B": "runs of their own"}
    assert [record.name for record in sweep.records] == ["W4", "W8"]
    assert sweep.trials[0].overrides == (
        "qconfig.bits=4",
        "name='my net'",
        "+model.width=8",
        "~sweep",
    )


def test_overrides_come_back_as_they_were_given(home, store, log_run, tmp_path):
    """Values hold spaces, quotes and equals signs."""
    given = ["sweep.exclude=['bits==2 and lr_scale==0.5']", "dataset.root='/data/my set/v=1'"]
    log_run(4, overrides=overrides_text(given))
    (tmp_path / "copies").mkdir()
    (run,) = read_runs(TrackingConfig(), home=home, to=tmp_path / "copies").runs
    assert run.overrides == tuple(given)


def test_a_run_without_a_record_is_listed_as_unreadable(home, store, tmp_path):
    store.start_run(name="x", params={}, tags={})
    found = read_runs(TrackingConfig(), home=home, to=tmp_path)
    (trial,) = from_mlflow(found, experiment="qatexp", home=tmp_path).trials
    assert (trial.status, trial.problem) == ("unreadable", "left no record.json")
    assert trial.overrides is None


def test_a_record_that_cannot_be_read_is_an_error(home, store, log_run, tmp_path, monkeypatch):
    """A server that refuses or is down would make every trial one without a record."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    run_id = log_run(4)

    def refuse(*_):
        raise MlflowException("401 Unauthorized")

    monkeypatch.setattr(MlflowClient, "download_artifacts", refuse)
    text = f"^the record of run {run_id} cannot be read: 401 Unauthorized$"
    with pytest.raises(TrackingError, match=text):
        read_runs(TrackingConfig(), home=home, to=tmp_path)


def test_earlier_attempts_and_reruns_are_no_results(home, store, log_run, tmp_path):
    ids = [log_run(bits) for bits in (2, 4, 8)]
    log_run(8, kind=RERUN_KIND)
    for run_id in ids[:2]:
        store.supersede(run_id)
    found = read_runs(TrackingConfig(), home=home, to=tmp_path)
    assert [run.run_id for run in found.runs] == ids[2:]
    sweep = from_mlflow(found, experiment="qatexp", home=tmp_path)
    line = "left out: 2 runs whose trial was started again, 1 rerun"
    assert line in report(sweep).notes
    store.supersede(ids[2])
    (tmp_path / "again").mkdir()
    nothing = read_runs(TrackingConfig(), home=home, to=tmp_path / "again")
    with pytest.raises(StoreError, match=r"has no runs beside 3 runs whose trial was .*, 1 rerun$"):
        from_mlflow(nothing, experiment="qatexp", home=tmp_path)


def test_trials_of_a_deleted_sweep_are_no_runs_of_their_own(home, store, client, log_run, tmp_path):
    sweep_id = store.start_sweep(name="sweep 2026", tags={}, note="")
    log_run(4, parent=sweep_id)
    client.delete_run(sweep_id)
    (run,) = read_runs(TrackingConfig(), home=home, to=tmp_path).runs
    assert run.sweep == sweep_id


def test_an_unknown_experiment_lists_near_ones(home, store, tmp_path):
    with pytest.raises(TrackingError, match=r"^--experiment=qatex: sqlite:.* it has qatexp$"):
        read_runs(TrackingConfig(experiment="qatex"), home=home, to=tmp_path)


def test_reading_creates_no_store(tmp_path):
    with pytest.raises(TrackingError, match=r"^there is no MLflow store at .*mlflow\.db; give"):
        read_runs(TrackingConfig(), home=tmp_path, to=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_without_runs_is_nothing_to_compare(tmp_path):
    with pytest.raises(StoreError, match="the MLflow experiment empty has no runs"):
        from_mlflow(LoggedRuns(()), experiment="empty", home=tmp_path)


def test_one_sweep_needs_no_label(tmp_path):
    runs = (LoggedRun(f"{i}234567890", tmp_path / str(i), "sweep 1", "") for i in range(2))
    sweep = from_mlflow(LoggedRuns(tuple(runs)), experiment="x", home=tmp_path)
    assert [trial.name for trial in sweep.trials] == ["02345678", "12345678"]
    assert sweep.sources == {}
