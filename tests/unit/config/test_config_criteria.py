"""The rule for a sweep's best trial is read, or refused, before anything starts."""

import pytest

from qatexp.config.criteria import check_selection, criteria
from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    RegistryConfig,
    SweepConfig,
    TrackingConfig,
)
from qatexp.errors import ConfigError


def config(select=("max:val_top1",), **registry):
    return ExperimentConfig(
        "x",
        ModelConfig("a.b"),
        DatasetConfig("a.b"),
        tracking=TrackingConfig(registry=RegistryConfig(**registry)),
        sweep=SweepConfig(select=list(select)),
    )


def test_the_default_is_chosen_on_validation_images_and_then_by_cost():
    assert [str(item) for item in criteria(SweepConfig().select)] == [
        "max val_top1",
        "min size_bytes",
        "min latency_ms_p50",
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        pytest.param(config([]), r"sweep\.select=\[\] names no figure", id="empty"),
        pytest.param(
            config(["top1"]),
            r"sweep\.select: 'top1' is not possible; allowed: max: or min: before one of top1, dep",
            id="no-direction",
        ),
        pytest.param(config(["max:speed"]), r"'max:speed' is not possible", id="no-figure"),
        pytest.param(config(["max:file"]), r"'max:file' is not possible", id="no-number"),
        pytest.param(
            config(model="a/b"),
            r"tracking\.registry\.model=a/b is not possible; allowed: letters, digits, spaces",
            id="model",
        ),
        pytest.param(
            config(alias="latest"),
            r"tracking\.registry\.alias=latest is not possible; allowed: letters, digits, _ and -",
            id="reserved-alias",
        ),
        pytest.param(config(alias="v2"), r"alias=v2 is not possible", id="version-alias"),
        pytest.param(config(alias=""), r"alias= is not possible", id="empty-alias"),
    ],
)
def test_what_cannot_be_done_is_named(asked, message):
    with pytest.raises(ConfigError, match=message):
        check_selection(asked)


def test_names_that_mlflow_takes_are_fine():
    check_selection(config(["min:size_bytes", "max:latency_speedup"], model="my net.v2", alias="a"))
