"""The best trial of a sweep as a version of a registered model, in a real store."""

import numpy as np
import pytest

from qatexp.errors import TrackingError


@pytest.fixture
def finished(store, onnx_path):
    """Make a finished run with a logged model."""

    def make():
        with store.start_run(name="w4", params={}, tags={}) as log:
            log.log_model(onnx_path, name="ptq", input_example=np.zeros((1, 3, 4, 4), np.float32))
            log.log_model(onnx_path, name="qat", input_example=np.zeros((1, 3, 4, 4), np.float32))
        return log.run_id

    return make


@pytest.fixture
def _store_of_the_process(store, monkeypatch):
    """As whoever deploys the model sets it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)


@pytest.mark.filterwarnings("ignore")  # of mlflow about itself; loading is the user's own call
@pytest.mark.usefixtures("_store_of_the_process")
def test_the_alias_loads_the_file_that_was_measured(store, client, finished, onnx_path, tmp_path):
    from mlflow.artifacts import download_artifacts

    run_id = finished()
    tags = {"deployed_top1": 99.16, "qatexp.trial": "3"}
    found = store.register(run_id, "qat", model="net-digits", alias="best", tags=tags, note="why")
    assert (found.model, found.version, found.uri) == ("net-digits", 1, "models:/net-digits@best")
    version = client.get_model_version_by_alias("net-digits", "best")
    assert (version.run_id, version.description) == (run_id, "why")
    assert version.tags == {"deployed_top1": "99.16", "qatexp.trial": "3"}
    models = [
        client.get_logged_model(output.model_id)
        for output in client.get_run(run_id).outputs.model_outputs
    ]
    linked = {item.name: item.tags.get("mlflow.modelVersions") for item in models}
    assert linked == {"ptq": None, "qat": '[{"name": "net-digits", "version": 1}]'}
    (tmp_path / "copy").mkdir()
    download_artifacts(found.uri, dst_path=str(tmp_path / "copy"))
    (file,) = (tmp_path / "copy").rglob("model.onnx")
    assert file.read_bytes() == onnx_path.read_bytes()


def test_a_sweep_that_goes_on_moves_the_alias(store, client, finished):
    first, second = finished(), finished()

    def version_of(run_id, **tags):
        return store.register(
            run_id, "qat", model="net", alias="best", tags=tags, note="why"
        ).version

    assert [version_of(first, rule="a"), version_of(first, rule="b")] == [1, 1]
    assert version_of(second) == 2
    assert client.get_model_version_by_alias("net", "best").run_id == second
    assert version_of(first) == 1
    assert client.get_model_version_by_alias("net", "best").run_id == first
    versions = client.search_model_versions("name = 'net'")
    assert {int(item.version) for item in versions} == {1, 2}
    assert client.get_model_version("net", "1").tags == {"rule": "b"}


def test_an_alias_is_at_a_version_or_at_none(store, client, finished):
    assert store.version_at(model="net", alias="best") is None
    store.register(finished(), "qat", model="net", alias="best", tags={}, note="")
    assert store.version_at(model="net", alias="best") == 1
    assert store.version_at(model="net", alias="champion") is None
    store.register(finished(), "qat", model="net", alias="best", tags={}, note="")
    assert store.version_at(model="net", alias="best") == 2
    client.delete_registered_model_alias("net", "best")
    assert store.version_at(model="net", alias="best") is None


def test_a_run_without_the_model_is_no_version(store, client):
    log = store.start_run(name="x", params={}, tags={})
    with pytest.raises(TrackingError, match=f"run {log.run_id} has logged no model qat"):
        store.register(log.run_id, "qat", model="net", alias="best", tags={}, note="")
    assert client.search_registered_models() == []


def test_a_run_that_is_gone_is_an_error_of_tracking(store):
    with pytest.raises(TrackingError, match="cannot be registered as net in sqlite:"):
        store.register("0" * 32, "qat", model="net", alias="best", tags={}, note="")
