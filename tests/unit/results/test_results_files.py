"""Which files compete: shared ones once, with one latency."""

from dataclasses import replace

import pytest

from qatexp.results.files import files, with_shared_figures


def test_a_file_that_trials_share_comes_once_with_its_median_latency(make_trial):
    trials = [make_trial(qat=86.0 + i, latency_ms=0.8 + 0.1 * i) for i in range(3)]
    found = files(trials)
    assert [(file.name, file.trials) for file in found] == [
        ("fp32", (0, 1, 2)),
        ("ptq", (0, 1, 2)),
        ("qat", (0,)),
        ("qat", (1,)),
        ("qat", (2,)),
    ]
    assert found[1].variant.latency_ms_p50 == 0.9
    shared = with_shared_figures(trials)
    assert [record.variants["ptq"].latency_ms_p50 for record in shared] == [0.9] * 3
    assert [record.variants["qat"] for record in shared] == [r.variants["qat"] for r in trials]


def test_no_median_is_taken_over_times_that_do_not_compare(make_trial):
    trials = [
        replace(make_trial(latency_ms=latency), environment={"cpu": cpu})
        for latency, cpu in [(0.4, "A"), (9.0, "B"), (0.8, "A")]
    ]
    found = {
        file.trials: file.variant.latency_ms_p50 for file in files(trials) if file.name == "qat"
    }
    assert found == {(0, 2): pytest.approx(0.6), (1,): 9.0}
    assert [file.trials for file in files(trials) if file.name == "ptq"] == [(0, 2), (1,)]


def at_pace(record, pace):
    """What a trial would have measured while the machine ran slower by a factor."""
    variants = {
        name: replace(v, latency_ms_p50=v.latency_ms_p50 * pace)
        for name, v in record.variants.items()
    }
    return replace(record, variants=variants)


def test_latencies_are_compared_relative_to_the_fp32_of_the_same_trial(make_trial):
    """The speedup says that the second file is the faster one, whatever the milliseconds say."""
    fast, slow = make_trial(qat=85.0, latency_ms=0.8), make_trial(qat=86.0, latency_ms=1.0)
    trials = [slow, at_pace(fast, 2.0), at_pace(slow, 1.1)]
    shared = with_shared_figures(trials)
    assert [r.variants["fp32"].latency_ms_p50 for r in shared] == pytest.approx([2.2] * 3)
    times = [record.variants["qat"].latency_ms_p50 for record in shared]
    assert times == pytest.approx([1.1, 0.88, 1.1])
    again = [record.variants["qat"].latency_ms_p50 for record in with_shared_figures(shared)]
    assert again == pytest.approx(times)


def test_networks_have_a_pace_of_their_own(make_trial):
    other = replace(make_trial(model="resnet50"), fingerprints={"export_fp32": "other"})
    trials = [make_trial(), at_pace(other, 9.0)]
    shared = with_shared_figures(trials)
    assert [record.variants["fp32"].latency_ms_p50 for record in shared] == [2.0, 18.0]


def test_files_with_equal_figures_but_other_fingerprints_are_two(make_trial):
    one, other = (replace(make_trial(), fingerprints={"export_ptq": text}) for text in ("a", "b"))
    assert [file.trials for file in files([one, other]) if file.name == "ptq"] == [(0,), (1,)]
