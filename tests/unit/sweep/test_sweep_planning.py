"""The points of a sweep: numbered, without duplicates, from a file where one is given."""

import json
import os
import sys

import pytest

from qatexp.config.parse import flat_params
from qatexp.errors import ConfigError
from qatexp.sweep.identity import trial_fingerprint
from qatexp.sweep.planning import plan_sweep, with_points_of


def test_points_that_are_the_same_experiment_are_planned_once(points, caplog):
    configs = points("-m", "qconfig.bits=8,4", "seed=0")
    again = points("-m", "qconfig=w4a4", "seed=0,1")
    asked = [(["a"], configs[0]), (["b"], configs[1]), (["c"], again[0]), (["d"], again[1])]
    plan = plan_sweep(["x=1,2"], asked)
    assert [(point.number, point.overrides) for point in plan.points] == [
        (0, ("a",)),
        (1, ("b",)),
        (2, ("d",)),
    ]
    assert "1 of 4 points are the same experiment as another one" in caplog.text


@pytest.mark.parametrize(
    ("override", "is_same"),
    [
        pytest.param("seed=1", False, id="seed"),
        pytest.param("qconfig.bits=4", False, id="bits"),
        pytest.param("measure.rounds=7", False, id="how it is measured"),
        pytest.param("tracking=none", True, id="where it is logged"),
        pytest.param("cache.dir=elsewhere", True, id="where stages lie"),
        pytest.param("sweep.max_failures=3", True, id="when a sweep stops"),
    ],
)
def test_what_changes_no_figure_changes_no_fingerprint(points, override, is_same):
    (plain,), (changed,) = points(), points(override)
    assert (trial_fingerprint(plain) == trial_fingerprint(changed)) is is_same


@pytest.mark.parametrize(
    "values",
    [
        pytest.param("dataset.root=HERE,HERE/a", id="where images lie"),
        pytest.param("dataset.split_seed=0,1", id="split"),
        pytest.param("dataset.mean=[0.5],[0.4] dataset.std=[0.5]", id="normalisation"),
        pytest.param("measure.batch_sizes=[1],[8]", id="batch"),
        pytest.param("measure.rounds=5,6", id="rounds"),
        pytest.param("debug.limit_batches=1,2", id="limit of batches"),
        pytest.param("trainer.threads=1,2", id="threads"),
        pytest.param("+model.width=1,2", id="argument of a target"),
        pytest.param(
            "model._target_=qatexp.models.resnet8,torchvision.models.resnet18", id="model"
        ),
        pytest.param("trainer.checkpoint_seconds=1,2", id="what no figure depends on"),
        pytest.param("debug.traceback=true,false", id="what an error says"),
        pytest.param("dataset.split_seed=0,1 seed=0,1 measure.batch_sizes=[1],[8]", id="several"),
    ],
)
def test_points_are_the_same_trial_where_their_parameters_are(points, tmp_path, values):
    """Trials with the same parameters but the seed are taken for samples of one setting."""
    (tmp_path / "a" / "images").mkdir(parents=True)
    configs = points("-m", *values.replace("HERE", str(tmp_path)).split())
    fingerprints = [trial_fingerprint(config) for config in configs]
    params = [json.dumps(flat_params(config)) for config in configs]
    assert len(set(zip(params, fingerprints, strict=True))) == len(set(params))
    assert len(set(params)) == len(set(fingerprints))


def test_code_of_the_users_own_counts(points, tmp_path, monkeypatch):
    """Finished trials of an old network would be taken for those of the new one."""
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "__init__.py").write_text("def build(): ...")
    (tmp_path / "mypackage" / "blocks.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ("trusted_packages=[mypackage]", "model._target_=mypackage.build")
    (config,) = points(*own)
    before = trial_fingerprint(config)
    assert trial_fingerprint(config) == before
    (tmp_path / "mypackage" / "blocks.py").write_text("WIDTH = 2")
    assert trial_fingerprint(config) != before
    assert "mypackage" not in sys.modules


def test_an_image_that_is_added_changes_the_fingerprint(points, tmp_path):
    classes = [tmp_path / split / name for split in ("train", "test") for name in "ab"]
    for folder in classes:
        folder.mkdir(parents=True)
        (folder / "1.png").touch()
    (config,) = points("dataset=imagefolder", f"dataset.root={tmp_path}", "dataset.image_size=8")
    before = trial_fingerprint(config)
    assert trial_fingerprint(config) == before
    (classes[0] / "2.png").touch()
    os.utime(classes[0], (1, 1))  # whatever the resolution of the file system's clock
    assert trial_fingerprint(config) != before


def test_each_point_of_a_file_is_combined_with_each_of_the_command_line(tmp_path):
    file = tmp_path / "points.yaml"
    file.write_text(
        "- {qconfig.bits: 4, schedule.qat.epochs: 2, model.checkpoint: null}\n"
        "- [qconfig=w2a2, 'schedule.control=true']\n"
        "- {qconfig.layers: [{match: fc, skip: true}], name: it's}\n"
    )
    found = with_points_of(str(file), [["seed=0"], ["seed=1"]])
    assert found[0] == [
        "seed=0",
        "qconfig.bits=4",
        "schedule.qat.epochs=2",
        "model.checkpoint=null",
    ]
    assert found[1][0] == "seed=1"
    assert found[2] == ["seed=0", "qconfig=w2a2", "schedule.control=true"]
    assert found[4] == ["seed=0", "qconfig.layers=[{match:'fc',skip:true}]", r"name='it\'s'"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[", "cannot be read: while parsing", id="no YAML"),
        pytest.param("{a: 1}", "holds no list; allowed: a YAML list of points", id="no list"),
        pytest.param("[]", "holds no list", id="empty"),
        pytest.param("- 3", "point 0 is 3; allowed: a mapping of keys to values", id="no point"),
    ],
)
def test_a_file_without_points_is_refused(tmp_path, text, message):
    file = tmp_path / "points.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as problem:
        with_points_of(str(file), [[]])
    assert str(problem.value).startswith(f"sweep.points={file}")
    assert message in str(problem.value)


def test_a_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        with_points_of(str(tmp_path / "none.yaml"), [[]])
