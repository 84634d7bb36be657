import getpass
import multiprocessing
import shutil
import sqlite3
import time

import pytest

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.tracking import begin_store, open_store
from qatexp.tracking.database import ensure_database
from qatexp.tracking.view import SUPERSEDED_TAG


def test_the_database_is_made_for_several_writers(empty_database):
    connection = sqlite3.connect(empty_database)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert sorted(file.name for file in empty_database.parent.glob("mlflow.db.new*")) == []


def test_an_existing_database_is_left_alone(tmp_path):
    path = tmp_path / "runs.db"
    path.write_bytes(b"not looked into")
    ensure_database(path)
    assert path.read_bytes() == b"not looked into"
    assert list(tmp_path.iterdir()) == [path]


def test_the_leftover_of_a_killed_creation_does_not_matter(tmp_path, monkeypatch, empty_database):
    (tmp_path / "runs.db.new").write_bytes(b"half")
    monkeypatch.setattr(
        "qatexp.tracking.database._migrate", lambda draft: shutil.copy(empty_database, draft)
    )
    ensure_database(tmp_path / "runs.db")
    assert (tmp_path / "runs.db").stat().st_size == empty_database.stat().st_size
    assert not (tmp_path / "runs.db.new").exists()


def test_a_database_that_was_begun_is_waited_for(tmp_path, monkeypatch):
    """The process that makes it holds the lock; this one would not know how."""
    config = TrackingConfig(uri="sqlite:///runs.db")
    assert begin_store(config, home=tmp_path)
    while not (tmp_path / "runs.db.lock").exists():
        time.sleep(0.01)
    monkeypatch.setattr("qatexp.tracking.database._create", lambda _: pytest.fail("made twice"))
    assert open_store(config, home=tmp_path).experiment_id != "0"
    assert not begin_store(config, home=tmp_path)


@pytest.mark.parametrize(
    "config", [TrackingConfig(enabled=False), TrackingConfig(uri="http://127.0.0.1:1")], ids=str
)
def test_nothing_is_begun_where_there_is_no_local_database(tmp_path, config):
    assert not begin_store(config, home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"the MLflow database .* cannot be created"):
        ensure_database(tmp_path / "file" / "deeper" / "runs.db")


def test_a_store_of_another_version_says_what_mlflow_says(home):
    connection = sqlite3.connect(home / "multirun" / "mlflow.db")
    connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.commit()
    connection.close()
    with pytest.raises(TrackingError, match=r"tracking\.uri=sqlite:.*mlflow db upgrade"):
        open_store(TrackingConfig(), home=home)


def log_one_run(home, barrier, results):
    barrier.wait()
    store = open_store(TrackingConfig(), home=home)
    with store.start_run(name="trial", params={"seed": 0}, tags={}) as log:
        log.finish(status="FINISHED", metrics={"qat/top1": 1.0}, tags={})
    results.put(log.run_id)


@pytest.mark.slow
def test_four_processes_share_a_store_that_does_not_exist_yet(tmp_path):
    """MLflow alone fails in all four and leaves the database unusable."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=log_one_run, args=(tmp_path, barrier, results)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/multirun/mlflow.db")
    experiments = client.search_experiments(filter_string="name = 'qatexp'")
    runs = client.search_runs([experiment.experiment_id for experiment in experiments])
    assert len(experiments) == 1
    assert {run.info.run_id for run in runs} == {results.get(timeout=5) for _ in range(4)}


def test_the_experiment_keeps_its_artifacts_beside_the_database(store, client, home):
    experiment = client.get_experiment(store.experiment_id)
    assert experiment.name == "qatexp"
    assert experiment.artifact_location == (home / "multirun" / "mlartifacts").as_uri()
    assert "exported files" in experiment.tags["mlflow.note.content"]
    assert "mlflow.sharedViewState.qatexp-tradeoff" in experiment.tags


def test_opening_again_keeps_the_experiment_and_a_note_of_the_user(store, client, home):
    client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "mine")
    client.set_experiment_tag(store.experiment_id, "mlflow.sharedViewState.qatexp-tradeoff", "old")
    again = open_store(TrackingConfig(), home=home)
    assert again.experiment_id == store.experiment_id
    tags = client.get_experiment(store.experiment_id).tags
    assert tags["mlflow.note.content"] == "mine"
    assert "deployed_top1" in tags["mlflow.sharedViewState.qatexp-tradeoff"]


def test_a_deleted_experiment_is_named_with_the_way_back(store, client, home):
    client.delete_experiment(store.experiment_id)
    with pytest.raises(TrackingError, match=r"tracking\.experiment=qatexp was deleted in sqlite"):
        open_store(TrackingConfig(), home=home)


def test_a_moved_store_is_warned_about(store, home, tmp_path, caplog):
    """MLflow freezes the artifacts' folder: new files would go where the project used to be."""
    moved = tmp_path / "moved"
    (moved / "multirun").mkdir(parents=True)
    for file in (home / "multirun").glob("mlflow.db*"):  # the write-ahead log is part of it
        shutil.copy(file, moved / "multirun")
    open_store(TrackingConfig(), home=moved)
    assert "tracking.experiment=qatexp keeps its artifacts in" in caplog.text
    assert str(moved / "multirun") in caplog.text


def test_an_experiment_that_another_process_makes_first_is_taken(store, home, monkeypatch):
    from mlflow import MlflowClient

    find = MlflowClient.get_experiment_by_name
    calls = []

    def find_later(self, name):
        calls.append(name)
        return None if len(calls) == 1 else find(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", find_later)
    assert open_store(TrackingConfig(), home=home).experiment_id == store.experiment_id


def test_a_single_run_has_its_params_and_its_kind(store, client):
    log = store.start_run(name="w4", params={"seed": 0, "model": "resnet8"}, tags={"git": "abc"})
    run = client.get_run(log.run_id)
    assert run.info.run_name == "w4"
    assert run.info.status == "RUNNING"
    assert run.data.params == {"seed": "0", "model": "resnet8"}
    assert run.data.tags["qatexp.kind"] == "single"
    assert run.data.tags["git"] == "abc"
    assert run.data.tags["mlflow.source.name"] == "qatexp"


def test_an_analysis_is_a_kind_of_its_own(store, client):
    log = store.start_run(name="x", params={}, tags={}, kind="analysis")
    assert client.get_run(log.run_id).data.tags["qatexp.kind"] == "analysis"


def test_figures_by_bits_are_curves_over_bits(store, client):
    with store.start_run(name="x", params={}, tags={}) as log:
        log.log_by_bits({4: {"weight/fc/kl": 0.5}, 8: {"weight/fc/kl": 0.1}})
    history = client.get_metric_history(log.run_id, "weight/fc/kl")
    assert [(point.step, point.value) for point in history] == [(4, 0.5), (8, 0.1)]


def test_trials_nest_under_their_sweep(store, client, tmp_path):
    sweep = store.start_sweep(name="bits", tags={"overrides": "b=2,4"}, note="before")
    trial = store.start_run(name="w2", params={}, tags={}, parent_run_id=sweep)
    tags = client.get_run(trial.run_id).data.tags
    assert (tags["qatexp.kind"], tags["mlflow.parentRunId"]) == ("trial", sweep)
    parent = client.get_run(sweep)
    assert parent.data.tags["qatexp.kind"] == "sweep"
    assert parent.data.tags["mlflow.note.content"] == "before"

    (tmp_path / "compare.csv").write_text("a,b")
    store.finish_sweep(
        sweep,
        status="FINISHED",
        metrics={"trials": 6},
        note="after",
        artifacts=[tmp_path / "compare.csv"],
    )
    parent = client.get_run(sweep)
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"sweep/trials": 6.0}
    assert parent.data.tags["mlflow.note.content"] == "after"
    assert [item.path for item in client.list_artifacts(sweep)] == ["compare.csv"]


def test_a_sweep_ends_even_if_its_artifacts_cannot_be_kept(store, client, tmp_path):
    sweep = store.start_sweep(name="bits", tags={}, note="")
    with pytest.raises(TrackingError, match="artifacts"):
        store.finish_sweep(
            sweep, status="FAILED", metrics={}, note="", artifacts=[tmp_path / "none"]
        )
    assert client.get_run(sweep).info.status == "FAILED"


def test_a_run_whose_params_are_refused_does_not_run_for_ever(store, client):
    with pytest.raises(TrackingError, match="the params of run"):
        store.start_run(name="x", params={"a[0": 1, "a_0": 2}, tags={})
    runs = client.search_runs([store.experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]


def test_a_user_without_a_name_can_log(store, client, monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nameless)
    log = store.start_run(name="x", params={}, tags={})
    assert "mlflow.user" not in client.get_run(log.run_id).data.tags


def test_a_local_store_has_no_page_before_it_is_served(store):
    assert store.page_url() is None


@pytest.mark.parametrize(
    ("status", "after"),
    [
        pytest.param(None, "KILLED", id="still open"),
        pytest.param("FINISHED", "KILLED", id="finished"),
        pytest.param("KILLED", "KILLED", id="of a killed process, closed since"),
        pytest.param("FAILED", "FAILED", id="failed"),
    ],
)
def test_an_earlier_attempt_is_marked_however_it_ended(store, client, status, after):
    run = store.start_run(name="trial", params={}, tags={})
    if status is not None:
        run.finish(status=status, metrics={}, tags={})
    store.supersede(run.run_id)
    found = client.get_run(run.run_id)
    assert (found.data.tags[SUPERSEDED_TAG], found.info.status) == ("true", after)


def test_only_an_open_run_is_ended(store, client):
    runs = [store.start_run(name="trial", params={}, tags={}).run_id for _ in range(2)]
    client.set_terminated(runs[1], status="FINISHED")
    for run_id in runs:
        store.end_run(run_id)
    assert [client.get_run(run_id).info.status for run_id in runs] == ["KILLED", "FINISHED"]


def test_a_sweep_is_opened_again(store, client):
    run_id = store.start_sweep(name="sweep", tags={}, note="")
    client.set_terminated(run_id, status="KILLED")
    assert store.resume_sweep(run_id)
    assert client.get_run(run_id).info.status == "RUNNING"


@pytest.mark.parametrize(
    "is_deleted", [pytest.param(True, id="deleted"), pytest.param(False, id="unknown")]
)
def test_a_run_that_is_not_there_any_more_stops_nothing(store, client, is_deleted):
    """Runs are deleted in MLflow's pages; what is left of them takes no change."""
    run_id = "0123456789abcdef0123456789abcdef"
    if is_deleted:
        run_id = store.start_sweep(name="sweep", tags={}, note="")
        client.delete_run(run_id)
    assert not store.resume_sweep(run_id)
    store.supersede(run_id)
    store.end_run(run_id)
