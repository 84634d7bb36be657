"""A command line that searches: where it goes on, and what its trials are handed."""

import pytest

from qatexp.errors import ConfigError
from qatexp.records.plan import Point
from qatexp.sweep.planning import write_plan
from qatexp.sweep.resume import united

SEARCH = ("hydra/sweeper=optuna", "qconfig.bits=choice(8,4)", "seed=3", "trainer.threads=1")


@pytest.fixture
def earlier(request_of, tmp_path):
    """The folder of a search with one trial."""
    plan = united(request_of(*SEARCH).plan, [Point(4, ("qconfig.bits=8",), "f00d")])
    write_plan(plan, tmp_path)
    return tmp_path


def test_trials_are_handed_what_they_look_at(request_of):
    task = request_of(*SEARCH, "hydra.sweeper.n_trials=3").search
    overrides = task.overrides({"qconfig.bits": 4})
    assert overrides == ["seed=3", "trainer.threads=1", "qconfig.bits=4"]


@pytest.mark.parametrize("given", [(), SEARCH], ids=["the folder alone", "the command again"])
def test_a_search_goes_on_in_the_folder_that_is_named(request_of, earlier, given):
    request = request_of(*given, f"sweep.resume={earlier}", "hydra.sweeper.n_trials=7")
    assert request.folder == earlier
    assert f"hydra.sweep.dir='{earlier}'" in request.overrides
    assert ([point.number for point in request.plan.points], request.plan.search.n_trials) == (
        [4],
        7,
    )
    assert not any("resume" in item for item in request.search.overrides({"qconfig.bits": 4}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*SEARCH[:1], "seed=1"), "no key has several values"),
        ((*SEARCH, "seed=1,2", "sweep.exclude=['bits<8']"), "sweep.exclude is not possible"),
        (("qconfig.bits=8,4", "sweep.prune_margin=3"), "prune_margin=3 is for searches"),
        ((*SEARCH[:1], "qconfig.bits=choice(8,1)"), "qconfig.bits=1 is not possible"),
        ((*SEARCH, "hydra.sweeper.sampler=grid", "model.w=interval(1,2)"), "grid tries all values"),
        (
            (*SEARCH, "hydra.sweeper.objectives=[max:control/top1]"),
            "control/top1 is a figure that no trial has with schedule.control=false",
        ),
        (
            (*SEARCH, "schedule.qat.epochs=0", "hydra.sweeper.constraints=['qat/top1 > 1']"),
            "qat/top1 is a figure that no trial has with schedule.qat.epochs=0",
        ),
    ],
    ids=["space", "exclude", "grid", "value", "sampler", "no control", "no training"],
)
def test_what_a_search_cannot_do_is_refused_at_once(request_of, arguments, message):
    with pytest.raises(ConfigError, match=message):
        request_of(*arguments)
