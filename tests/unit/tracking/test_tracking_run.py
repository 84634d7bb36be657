import json
import logging
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from qatexp.errors import TrackingError
from qatexp.tracking import run as run_module
from qatexp.tracking import sigterm_raises


@pytest.fixture
def log(store):
    return store.start_run(name="w4", params={"qconfig.weight.bits": 4}, tags={})


def test_epochs_are_curves_in_a_section_of_their_stage(log, client):
    """Epochs count from 1: MLflow draws a metric with a single point at step 0 as a bar."""
    for epoch in (1, 2):
        log.log_epoch("qat", epoch, {"train_loss": 1.0 / epoch})
    log.finish(status="FINISHED", metrics={}, tags={})
    history = client.get_metric_history(log.run_id, "qat_epochs/train_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]


def test_epochs_wait_in_the_buffer_until_the_pause_is_over(log, client, monkeypatch):
    log.log_epoch("fp32", 1, {"lr": 0.1})
    assert client.get_run(log.run_id).data.metrics == {}
    monkeypatch.setattr(log, "_pause", 0.0)
    log.log_epoch("fp32", 2, {"lr": 0.2})
    assert client.get_run(log.run_id).data.metrics == {"fp32_epochs/lr": 0.2}


def test_an_outage_does_not_end_a_training(log, client, monkeypatch, caplog):
    monkeypatch.setattr(log, "_pause", 0.0)
    with monkeypatch.context() as outage:
        outage.setattr(log, "_client", Unreachable())
        log.log_epoch("fp32", 1, {"lr": 0.1})
    assert "cannot be logged: disk full; trying again in" in caplog.text
    log.log_epoch("fp32", 2, {"lr": 0.2})
    history = client.get_metric_history(log.run_id, "fp32_epochs/lr")
    assert [point.step for point in history] == [1, 2]


class Unreachable:
    def __getattr__(self, name):
        def fail(*_, **__):
            raise OSError("disk full")

        return fail


def test_many_metrics_are_sent_in_batches(log, client, monkeypatch):
    monkeypatch.setattr(run_module, "METRICS_PER_BATCH", 3)
    log.finish(status="FINISHED", metrics={f"qat/m{i}": i for i in range(8)}, tags={})
    assert len(client.get_run(log.run_id).data.metrics) == 8


def test_more_params_than_a_request_takes(log, client):
    log.log_params({f"key.{i}": i for i in range(250)})
    assert len(client.get_run(log.run_id).data.params) == 251


def test_final_figures_are_bars_at_step_zero(log, client):
    log.finish(status="FINISHED", metrics={"qat/deployed_top1": 97.5}, tags={"git": "abc"})
    run = client.get_run(log.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"qat/deployed_top1": 97.5}
    assert client.get_metric_history(log.run_id, "qat/deployed_top1")[0].step == 0
    assert run.data.tags["git"] == "abc"
    assert "qatexp.non_finite" not in run.data.tags


def test_non_finite_figures_are_left_out_and_named(log, client, caplog):
    log.log_epoch("qat", 3, {"train_loss": float("nan")})
    figures = {"qat/loss": float("inf"), "qat/top1": 10.0}
    log.finish(status="FINISHED", metrics=figures, tags={})
    run = client.get_run(log.run_id)
    assert run.data.metrics == {"qat/top1": 10.0}
    assert run.data.tags["qatexp.non_finite"] == "qat_epochs/train_loss=nan, qat/loss=inf"
    assert "not finite, and so left out of MLflow: qat/loss=inf" in caplog.text


def test_the_status_is_set_even_if_the_figures_cannot_be_written(log, client, monkeypatch):
    monkeypatch.setattr(log, "flush", Unreachable().flush)
    with pytest.raises(TrackingError, match=r"the end of run \w+ cannot be logged: disk full"):
        log.finish(status="FAILED", metrics={"qat/top1": 1.0}, tags={})
    assert client.get_run(log.run_id).info.status == "FAILED"


def test_the_data_set_is_an_input_with_our_digest(log, client):
    log.log_dataset(name="digits", digest="0123456789" * 6, profile={"classes": 10})
    entry = client.get_run(log.run_id).inputs.dataset_inputs[0]
    assert entry.dataset.name == "digits"
    assert entry.dataset.digest == ("0123456789" * 6)[:36]
    assert json.loads(entry.dataset.profile) == {"classes": 10}
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]


def test_files_and_folders_become_artifacts(log, client, tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "curve.png").write_bytes(b"png")
    (tmp_path / "record.json").write_text("{}")
    log.log_artifacts([tmp_path / "record.json", tmp_path / "plots"], folder="run")
    assert [item.path for item in client.list_artifacts(log.run_id, "run")] == [
        "run/plots",
        "run/record.json",
    ]
    assert client.list_artifacts(log.run_id, "run/plots")[0].path == "run/plots/curve.png"


def test_a_missing_artifact_is_an_error_with_its_name(log, tmp_path):
    with pytest.raises(TrackingError, match=r"artifacts of run \w+ cannot be logged.*nothing\.txt"):
        log.log_artifacts([tmp_path / "nothing.txt"])


def logged_model(client, log):
    outputs = client.get_run(log.run_id).outputs.model_outputs
    return client.get_logged_model(outputs[0].model_id)


def test_the_model_is_the_file_itself(log, client, onnx_path, store, home):
    """MLflow writes models anew; what was measured must be what is logged, byte for byte."""
    log.log_model(onnx_path, name="qat", input_example=np.zeros((1, 3, 4, 4), np.float32))
    model = logged_model(client, log)
    assert (model.name, str(model.status), model.source_run_id) == ("qat", "READY", log.run_id)
    copies = list((home / "multirun" / "mlartifacts").rglob("model.onnx"))
    assert [copy.read_bytes() for copy in copies] == [onnx_path.read_bytes()]
    requirements = copies[0].with_name("requirements.txt").read_text()
    assert [line.partition("==")[0] for line in requirements.split()] == [
        "mlflow",
        "onnx",
        "onnxruntime",
        "numpy",
    ]


def test_the_files_of_all_packages_are_not_read(log, onnx_path, monkeypatch):
    """A second in every process, for versions that come from the installed packages anyway."""
    from mlflow.utils import requirements_utils

    def read():
        pytest.fail("MLflow reads which files the installed packages have")

    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr(requirements_utils.importlib_metadata, "packages_distributions", read)
    log.log_model(onnx_path, name="qat", input_example=np.zeros((1, 3, 4, 4), np.float32))
    assert requirements_utils._MODULES_TO_PACKAGES is None, "MLflow finds it as it was"


@pytest.mark.filterwarnings("ignore")  # of mlflow about itself; loading is the user's own call
def test_the_model_predicts_through_mlflow_and_knows_its_shapes(log, client, onnx_path, home):
    log.log_model(onnx_path, name="qat", input_example=np.zeros((1, 3, 4, 4), np.float32))
    import mlflow.pyfunc

    folder = next((home / "multirun" / "mlartifacts").rglob("model.onnx")).parent
    model = mlflow.pyfunc.load_model(str(folder))
    logits = model.predict(np.ones((5, 3, 4, 4), np.float32))["logits"]
    assert logits.tolist() == [[48.0, 48.0]] * 5  # 3 channels x 4 x 4 ones
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 3, 4, 4)
    assert model.metadata.signature.outputs.inputs[0].shape == (-1, 2)


def test_a_model_that_cannot_be_saved_is_marked_failed(log, client, tmp_path):
    missing = tmp_path / "none.onnx"
    with pytest.raises(TrackingError, match=r"the model qat of run \w+ cannot be logged"):
        log.log_model(missing, name="qat", input_example=np.zeros((1, 3, 4, 4), np.float32))
    assert str(logged_model(client, log).status) == "FAILED"


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        pytest.param(ValueError, "FAILED", id="exception"),
        pytest.param(KeyboardInterrupt, "KILLED", id="interrupt"),
        pytest.param(SystemExit, "KILLED", id="exit"),
    ],
)
def test_a_run_that_breaks_off_is_closed(log, client, problem, status):
    log.log_epoch("fp32", 1, {"lr": 0.5})
    with pytest.raises(problem), log:
        raise problem
    run = client.get_run(log.run_id)
    assert run.info.status == status
    assert run.data.metrics == {"fp32_epochs/lr": 0.5}


def test_a_run_that_ends_well_is_finished_once(log, client):
    with log:
        pass
    assert client.get_run(log.run_id).info.status == "FINISHED"


def test_a_finished_run_keeps_its_status(log, client):
    log.finish(status="FINISHED", metrics={}, tags={})
    with pytest.raises(ValueError, match="later"), log:
        raise ValueError("later")
    assert client.get_run(log.run_id).info.status == "FINISHED"


def test_a_store_that_fails_too_does_not_hide_the_first_error(log, monkeypatch, caplog):
    monkeypatch.setattr(log, "_client", Unreachable())
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="first"), log:
        raise ValueError("first")
    assert "disk full" in caplog.text


def test_no_state_leaks_into_the_process(log, store):
    import mlflow

    assert mlflow.active_run() is None
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_terminated_run_does_not_run_for_ever(home, store, client):
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from qatexp.config.schema import TrackingConfig;"
        "from qatexp.tracking import open_store, sigterm_raises\n"
        "store = open_store(TrackingConfig(), home=Path(sys.argv[1]))\n"
        "with sigterm_raises(), store.start_run(name='x', params={}, tags={}) as log:\n"
        "    print(log.run_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    command = [sys.executable, "-c", code, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    assert client.get_run(done.stdout.strip()).info.status == "KILLED"


def test_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, sigterm_raises():
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_may_use_the_handler_without_effect():
    """Python allows signal handlers in the main thread alone; a launcher may use others."""
    seen = []

    def work():
        with sigterm_raises():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
