import json
from dataclasses import replace

import pytest

from qatexp.config.schema import TrackingConfig
from qatexp.errors import ConfigError, QatexpError, StoreError
from qatexp.rerun.origin import load_origin


@pytest.fixture
def loaded(tmp_path):
    def load(folder):
        return load_origin(str(folder), TrackingConfig(), home=tmp_path)

    return load


@pytest.fixture
def write(tmp_path, record):
    def run(**fields):
        content = replace(record, **fields).to_dict()
        (tmp_path / "record.json").write_text(json.dumps(content))
        (tmp_path / "config.json").write_text('{"seed": 0}')
        return tmp_path

    return run


def test_a_folder_holds_what_a_rerun_needs(loaded, write, record):
    origin = loaded(write())
    assert origin.config == {"seed": 0}
    assert origin.record.variants == record.variants
    assert origin.run_id == "f00d"


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_only_a_finished_run_can_be_compared_with(loaded, write, status):
    error = None if status == "running" else {"stage": "qat", "kind": "x", "message": "x"}
    where = "" if error is None else " in qat"
    with pytest.raises(ConfigError, match=rf"is {status}{where}: only a finished run has figures"):
        loaded(write(status=status, error=error))


def test_a_folder_without_a_run_says_what_to_give(loaded, tmp_path):
    with pytest.raises(StoreError, match=r"record.json: No such file.*give the folder of a run"):
        loaded(tmp_path)
    with pytest.raises(StoreError, match=r"nowhere cannot be rerun: record.json: No such file"):
        loaded(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("record.json", "{", id="half a record"),
        pytest.param("record.json", "[]", id="no record"),
        pytest.param("record.json", '{"schema": 99}', id="later schema"),
        pytest.param("config.json", "[]", id="no configuration"),
    ],
)
def test_files_that_cannot_be_read_are_told(loaded, write, name, text):
    folder = write()
    (folder / name).write_text(text)
    with pytest.raises(QatexpError, match="cannot be rerun: "):
        loaded(folder)
