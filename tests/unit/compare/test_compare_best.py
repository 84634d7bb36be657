"""The best trial of a sweep by a rule that reads like a sentence."""

from dataclasses import replace
from itertools import count

import pytest

from qatexp.compare import best_trial, collect
from qatexp.compare.baseline import delta
from qatexp.compare.page.tiles import tiles
from qatexp.compare.pareto import pareto
from qatexp.config.criteria import criteria
from qatexp.config.schema import SweepConfig
from qatexp.errors import ConfigError
from qatexp.records import Attempt, Target

DATA = {"name": "cifar10", "val": 1000, "test": 10_000}
DEFAULT = SweepConfig().select


@pytest.fixture
def choose(make_record, make_sweep):
    """Choose among trials that differ in validation accuracy, bytes and milliseconds."""
    numbers = count()

    def find(*trials, select=DEFAULT, data=DATA):
        records = []
        for bits, (val, size_bytes, latency) in enumerate(trials, start=2):
            record = make_record(bits=bits, size_bytes=size_bytes, latency_ms=latency, data=data)
            object.__setattr__(record.variants["qat"], "val_top1", val)
            records.append(record)
        folder = make_sweep(*records, root=f"sweep-{next(numbers)}")
        return best_trial(collect(folder), criteria(select))

    return find


def test_the_most_accurate_is_the_best_where_the_others_are_clearly_worse(choose):
    best = choose((80.0, 100, 1.0), (90.0, 900, 9.0))
    assert (best.trial.name, best.name) == ("1", "qat")


def test_of_accuracies_within_one_standard_error_the_smaller_file_wins(choose):
    """0.95 points on 1,000 images at 90 %."""
    assert choose((89.2, 100, 1.0), (90.0, 900, 1.0)).trial.name == "0"
    assert choose((88.9, 100, 1.0), (90.0, 900, 1.0)).trial.name == "1"


def test_all_of_a_few_images_right_is_no_certainty(choose):
    few = {**DATA, "val": 144}
    assert choose((99.3, 100, 1.0), (100.0, 900, 1.0), data=few).trial.name == "0"


def test_of_sizes_within_a_percent_the_faster_file_wins(choose):
    assert choose((90.0, 1000, 2.0), (90.0, 1009, 1.0)).trial.name == "1"
    assert choose((90.0, 1000, 2.0), (90.0, 1030, 1.0)).trial.name == "0"


def test_of_equals_the_more_accurate_is_taken_and_then_the_first(choose):
    """Latencies within 5 % do not decide: the same sweep would choose another trial next time."""
    assert choose((90.0, 100, 1.00), (90.1, 100, 1.04)).trial.name == "1"
    assert choose((90.0, 100, 1.04), (90.0, 100, 1.00)).trial.name == "0"


def test_the_rule_is_told_with_what_counts_as_equal(choose):
    best = choose((89.2, 100, 1.0), (90.0, 900, 1.0))
    assert best.text == (
        "best: qat of trial 0 (W2A2), by max val_top1 (within 0.95 points, one standard error of "
        "1,000 images), min size_bytes (within 1%), min latency_ms_p50 (within 5%, relative to "
        "fp32)"
    )


def test_another_rule_chooses_another_trial(choose):
    trials = [(80.0, 100, 1.0), (90.0, 900, 9.0)]
    assert choose(*trials, select=["min:size_bytes"]).trial.name == "0"
    assert choose(*trials, select=["max:latency_speedup"]).trial.name == "0"


def test_a_trial_without_qat_would_deploy_its_ptq_file(make_record, make_sweep):
    sweep = collect(make_sweep(make_record(qat=None, data=DATA)))
    best = best_trial(sweep, criteria(["max:deployed_top1"]))
    assert (best.name, best.variant.deployed_top1) == ("ptq", 80.0)


def test_a_trial_to_which_there_is_an_objection_is_not_the_best(make_record, make_sweep):
    sweep = collect(make_sweep(make_record(bits=8, qat=97.0), make_record(bits=2, qat=90.0)))
    rule = criteria(["max:deployed_top1"])

    def small(record):
        return "outside the limit" if record.params["qconfig.bits"] > 4 else ""

    best = best_trial(sweep, rule, objection=small)
    assert best.trial.name == "1"
    assert best.text.startswith(
        "best: qat of trial 1 (W2A2), among 1 of 2 finished trials (1 outside the limit), by max"
    )
    with pytest.raises(ConfigError, match=r"^none of 2 finished trials is the best, .*: 2 outside"):
        best_trial(sweep, rule, objection=lambda _: "outside the limit")


def test_a_trial_that_missed_its_target_is_not_the_best(make_record, make_sweep):
    missed, met = (Target(0.5, "val", (Attempt("qat", 2, drop),)) for drop in (2.0, 0.5))
    accurate = make_record(bits=8, qat=97.0, target=missed)
    rule = criteria(["max:deployed_top1"])
    best = best_trial(collect(make_sweep(accurate, make_record(bits=2, target=met))), rule)
    assert best.trial.name == "1"
    assert "among 1 of 2 finished trials (1 missed target.max_drop)" in best.text
    with pytest.raises(ConfigError, match=r"none of 1 finished trial .*: 1 missed target.max_drop"):
        best_trial(collect(make_sweep(accurate, root="missed")), rule)


def test_failed_trials_are_never_the_best(failed, make_sweep):
    assert best_trial(collect(make_sweep(failed)), criteria(DEFAULT)) is None


def test_without_validation_images_the_rule_is_not_quietly_another_one(choose):
    with pytest.raises(ConfigError, match=r"no finished trial has val_top1.*max:deployed_top1 may"):
        choose((None, 100, 1.0))


def test_latencies_that_were_not_taken_alike_decide_nothing(make_record, make_sweep):
    accurate = make_record(qat=90.0, latency_ms=1.0, data=DATA)
    fast = make_record(qat=90.0, latency_ms=0.1, data=DATA, environment={"cpu": "Other CPU"})
    sweep = collect(make_sweep(accurate, fast))
    best = best_trial(sweep, criteria(["max:deployed_top1", "min:latency_ms_p50"]))
    assert best.trial.name == "0"
    assert best.text.endswith(", not by min latency_ms_p50 (not taken alike)")
    first = best_trial(sweep, criteria(["min:latency_ms_p50", "max:deployed_top1"]))
    assert first.trial.name == "0"
    with pytest.raises(ConfigError, match=r"^sweep\.select=\[min:latency_ms_p50\]: the latencies"):
        best_trial(sweep, criteria(["min:latency_ms_p50"]))


def test_latencies_decide_relative_to_the_fp32_of_the_same_trial(make_record, make_sweep):
    """The machine was slow while it measured the file that is the faster one."""
    slow = make_record(bits=8, qat=86.0, latency_ms=1.0)
    fast = make_record(bits=4, qat=86.5, latency_ms=0.8)
    variants = {
        name: replace(v, latency_ms_p50=2 * v.latency_ms_p50) for name, v in fast.variants.items()
    }
    sweep = collect(make_sweep(slow, replace(fast, variants=variants)))
    best = best_trial(sweep, criteria(["min:latency_ms_p50"]))
    assert best.trial.name == "1"
    assert best.variant.latency_ms_p50 == 1.6  # as measured
    assert pareto(sweep.records) == {1}
    assert tiles(sweep)[2].detail.startswith("trial 1: W4A4")
    shares = [delta(record, sweep.trials[0]).latency_share for record in sweep.records]
    assert shares == pytest.approx([0.0, -0.2])


def test_trials_on_other_images_do_not_compare(make_record, make_sweep):
    records = [make_record(bits=bits, data={"name": name}) for bits, name in ((2, "a"), (4, "b"))]
    with pytest.raises(ConfigError, match=r"a sweep over data sets \(a, b\) has no best trial"):
        best_trial(collect(make_sweep(*records)), criteria(DEFAULT))
