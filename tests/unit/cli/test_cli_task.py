"""How runs are called in MLflow."""

import pytest

from qatexp.cli.task import _run_name
from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig


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
def test_a_run_is_named_by_its_overrides(overrides, name):
    config = ExperimentConfig("net", ModelConfig("a.b"), DatasetConfig("a.b"))
    assert _run_name(config, overrides) == name
