"""The space is written in Hydra's grammar, and a point reads as on the command line."""

import math

import optuna
import pytest

from qatexp.config.points import parse_overrides
from qatexp.errors import ConfigError
from qatexp.sweep.search.space import overrides_of, read_space, size


def space(*overrides):
    return read_space(parse_overrides(overrides))


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("a=choice(2,3,4)", (2, 3, 4)),
        ("a=8,4", (8, 4)),
        ("a=choice(1,1,2)", (1, 2)),
        ("a=range(1,4)", (1, 2, 3)),
        ("a=range(1,8,3)", (1, 4, 7)),
        ("a=range(0.25,1.0,0.25)", (0.25, 0.5, 0.75)),
        ("a=tag(log,range(1,5))", (1, 2, 3, 4)),
        ("a=int(interval(1,3))", (1, 2, 3)),
        ("a=interval(0.5,2)", None),
    ],
)
def test_values_are_those_of_hydra(override, values):
    (dimension,) = space(override)
    assert dimension.values == values


def test_points_are_overrides_again(recwarn):
    found = space("a=[8,4],null,'x y',true", "+b=w8a8,w4a4", "c=range(0.1,0.4,0.1)")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        seen.update(overrides_of(found, {d.key: d.suggest(trial) for d in found}))
    assert not recwarn.list
    texts = {"a=[8,4]", "a=null", "a='x y'", "a=True", "+b=w8a8", "+b=w4a4"}
    assert seen == texts | {f"c={number}" for number in found[2].values}
    assert size(found) == 8 * len(found[2].values)


def test_an_interval_with_tag_log_is_sampled_on_a_logarithmic_scale():
    found = space("a=tag(log,interval(0.01,1))")
    assert math.isinf(size(found))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [found[0].suggest(study.ask()) for _ in range(200)]
    assert 0.4 < sum(value < 0.1 for value in drawn) / 200 < 0.6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["a=1"], "no key has several values; give at least one, such as qconfig.bits=choice"),
        (["a=1,2", "a=3,4"], "a is searched twice"),
        (["a=range(4,4)"], "holds no number; as in Hydra, the end is not included"),
        (["a=interval(2,1)"], "is no interval"),
        (["a=tag(log,interval(0,1))"], "needs numbers above 0"),
        (["a=tag(log,range(1,9,2))"], "whole numbers in steps of 1"),
        (["a=tag(logg,interval(1,2))"], r"tag\(logg\) is not known; allowed: log"),
        (["a=tag(log,choice(1,2))"], "a choice takes no tags"),
        (["a=glob(*)"], "cannot be searched; allowed: choice, range and interval"),
    ],
)
def test_what_cannot_be_searched_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        space(*overrides)
