"""Objectives name figures of a record, settings are checked, and the front is theirs."""

import pytest
from made_up_search import NODE, made_up
from optuna.trial import TrialState, create_trial

from qatexp.errors import ConfigError
from qatexp.sweep.search.front import best_trials
from qatexp.sweep.search.objectives import read_objectives
from qatexp.sweep.search.settings import read_settings, require_optuna


def test_a_figure_without_a_variant_is_of_the_file_to_deploy():
    plain, full, other = read_objectives(
        ["max:deployed_top1", "min:qat/size_bytes", "max:val_top1"]
    )
    record = made_up(88.5, 1234)
    assert (plain.value(record), full.value(record)) == (88.5, 1234.0)
    assert other.value(record) is None  # without a validation split
    assert plain.text == "max:deployed_top1"


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        pytest.param([], r"objectives=\[\] is not possible", id="none"),
        pytest.param(["deployed_top1"], "names no direction; allowed: max:FIGURE", id="direction"),
        pytest.param(["max:deployed_top"], "did you mean deployed_top1", id="figure"),
        pytest.param(["max:loss", "min:loss"], "loss is there more than once", id="twice"),
    ],
)
def test_wrong_objectives_are_refused(objectives, message):
    with pytest.raises(ConfigError, match=message):
        read_objectives(objectives)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "cmaes"}, "sampler=cmaes is not possible; allowed: tpe, nsga2, random, grid"),
        ({"n_trials": 0}, "n_trials=0 is not possible; allowed: a whole number, at least 1"),
        ({"n_jobs": True}, "n_jobs=True is not possible"),
        ({"sampler": "nsga2", "startup_trials": 1}, "startup_trials=1 is not .* at least 2"),
        ({"constraints": "loss<1"}, "constraints=loss<1 is not possible; allowed: a list"),
        ({"storage": 3}, "storage=3 is not possible; allowed: null or a text"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        read_settings({**NODE, **change})


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("qatexp.sweep.search.settings.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'qatexp\[optuna\]'"):
        require_optuna()


def finished(number, *values, off=0.0):
    violations = {"constraints:size": off}
    found = create_trial(values=list(values), state=TrialState.COMPLETE, system_attrs=violations)
    found.number = number
    return found


@pytest.mark.parametrize(
    ("objectives", "expected"),
    [
        pytest.param(["max:top1", "min:size_bytes"], [2, 1, 4, 0], id="a gain and a cost"),
        pytest.param(["max:top1", "max:size_bytes"], [1], id="two gains"),
        pytest.param(["min:top1", "min:size_bytes"], [0], id="two costs"),
    ],
)
def test_the_front_follows_the_directions(objectives, expected):
    trials = [
        finished(0, 90.0, 1000),
        finished(1, 95.0, 2005),
        finished(2, 95.0, 2000),  # half a percent smaller: equal where it is to be small
        finished(3, 99.0, 500, off=0.1),  # outside a constraint
        finished(4, 91.0, 1500),
    ]
    found = best_trials(trials, read_objectives(objectives))
    assert [best.number for best in found] == expected
