"""Points of a sweep that are composed together are what each would be by itself."""

import pytest

from qatexp.errors import ConfigError


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("qconfig.bits=8,4", "seed=0,1"), id="values"),
        pytest.param(("qconfig=w8a8,w4a8", "schedule.qat.epochs=1,2"), id="members of groups"),
        pytest.param(("model=resnet8,cifar_resnet20", "seed=0,3"), id="models"),
        pytest.param(("qconfig.layers=[],[{match: fc, skip: true}]", "seed=0,1"), id="lists"),
        pytest.param(("+model.width=8,16", "qconfig.weight.bits=4,null"), id="keys that are added"),
        pytest.param(("name=a,b", "trainer.threads=1,null"), id="texts and nulls"),
    ],
)
def test_points_are_what_each_would_be_alone(points, overrides):
    together = points("-m", *overrides)
    first, second = (text.partition("=") for text in overrides)
    alone = [
        points(f"{first[0]}={a}", f"{second[0]}={b}")[0]
        for a in _values(first[2])
        for b in _values(second[2])
    ]
    assert together == alone


def _values(text):
    return ["[]", "[{match: fc, skip: true}]"] if text.startswith("[]") else text.split(",")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(("seed=0,1", "qconfig.bits=8,4,9"), "qconfig.bits=9", id="range"),
        pytest.param(("seed=0,1,x",), "seed: Value 'x' of type 'str' could not", id="type"),
        pytest.param(("qconfig.bit=8,4",), "qconfig.bit is not a key", id="key"),
        pytest.param(("seed=0,1", "qconfig=w8a8,w9a9"), "qconfig=w9a9 is not possible", id="file"),
    ],
)
def test_a_point_that_is_wrong_is_refused_as_it_would_be_alone(points, overrides, message):
    with pytest.raises(ConfigError, match="(?s)" + message.replace("'", ".")):
        points("-m", *overrides)
