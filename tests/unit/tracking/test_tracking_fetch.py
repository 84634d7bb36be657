import pytest

from qatexp.config.schema import TrackingConfig
from qatexp.errors import TrackingError
from qatexp.tracking import fetch_texts


@pytest.fixture
def finished(store, tmp_path):
    (tmp_path / "record.json").write_text('{"name": "w4"}')
    with store.start_run(name="w4", params={}, tags={}) as log:
        log.log_artifacts([tmp_path / "record.json"])
    return log.run_id


def test_files_of_a_run_are_read(home, finished):
    texts = fetch_texts(TrackingConfig(), finished, ["record.json"], home=home)
    assert texts == {"record.json": '{"name": "w4"}'}


def test_an_unknown_id_says_where_it_was_looked_for_and_how_ids_are_found(home, finished):
    with pytest.raises(TrackingError) as caught:
        fetch_texts(TrackingConfig(), "nope", ["record.json"], home=home)
    assert str(caught.value) == (
        f"there is no run nope in sqlite:///{home}/multirun/mlflow.db. A run's id stands in its "
        "record.json (mlflow_run_id) and on its page (qatexp ui); the run's folder will do, too. "
        f"The newest single run of experiment qatexp is {finished}."
    )


def test_an_unknown_experiment_is_told_and_not_created(home, finished, client):
    with pytest.raises(TrackingError, match="There is no experiment mine there"):
        fetch_texts(TrackingConfig(experiment="mine"), "nope", ["record.json"], home=home)
    assert client.get_experiment_by_name("mine") is None


def test_a_store_that_is_not_there_is_not_created(tmp_path):
    with pytest.raises(TrackingError, match=r"and there is no such store; change to the folder"):
        fetch_texts(TrackingConfig(), "nope", ["record.json"], home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_the_file_says_what_it_is(home, store, finished):
    sweep = store.start_sweep(name="sweep", tags={}, note="")
    with pytest.raises(TrackingError, match=r"\(kind sweep, running\) has no record.json: give"):
        fetch_texts(TrackingConfig(), sweep, ["record.json"], home=home)
    with pytest.raises(TrackingError, match=r"\(kind single, finished\) has no config.json: it is"):
        fetch_texts(TrackingConfig(), finished, ["record.json", "config.json"], home=home)
