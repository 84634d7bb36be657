"""Which figures of several trials may be set against each other."""

from dataclasses import replace

import pytest

from qatexp.records import Latency
from qatexp.results.comparable import (
    by_data_set,
    conditions,
    headline_conditions,
    latencies_compare,
    latency_differences,
    version_differences,
)

MACHINE = {
    "cpu": "Test CPU",
    "cpu_flags": ["avx2"],
    "cpu_count": 2,
    "threads": 2,
    "versions": {"onnxruntime": "1.24", "torch": "2.11"},
}


def measured(record, *, batch_size=1, threads=1, **environment):
    latencies = (Latency(batch_size, threads, 1.0, 1.3, 2.0),)
    variants = {name: replace(v, latencies=latencies) for name, v in record.variants.items()}
    return replace(record, variants=variants, environment={**MACHINE, **environment})


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        pytest.param({"cpu": "Other CPU"}, "cpu", id="processor"),
        pytest.param({"cpu_flags": ["avx2", "avx512_vnni"]}, "cpu_flags", id="features"),
        pytest.param({"cpu_count": 64}, "cpu_count", id="cores"),
        pytest.param(
            {"versions": {"onnxruntime": "1.25", "torch": "2.11"}}, "onnxruntime", id="runtime"
        ),
        pytest.param({"threads": 2}, "threads", id="threads"),
        pytest.param({"batch_size": 8}, "batch_size", id="batch"),
    ],
)
def test_times_compare_where_they_were_taken_alike(make_trial, changed, what):
    one, other = measured(make_trial()), measured(make_trial(), **changed)
    assert latencies_compare([one, one])
    assert latency_differences([one, one]) == []
    assert not latencies_compare([one, other])
    (found,) = latency_differences([one, other, one])
    assert (found.what, list(found.values.values())) == (what, [[0, 2], [1]])


def test_threads_of_training_and_other_packages_take_no_part_in_times(make_trial):
    versions = {"onnxruntime": "1.24", "torch": "2.12"}
    trials = [measured(make_trial()), measured(make_trial(), versions=versions)]
    trials[1].environment["threads"] = 1
    assert latencies_compare(trials)
    (found,) = version_differences(trials)
    assert (found.what, found.values) == ("torch", {"2.11": [0], "2.12": [1]})


def test_a_data_set_is_its_test_images_whatever_their_size_and_the_split(make_trial):
    base = {"name": "digits", "test": 359, "test_fingerprint": "a1b2c3d4"}
    data = [{**base, "fingerprint": "x"}, {**base, "fingerprint": "y", "split_seed": 1}]
    trials = [replace(make_trial(), data=each) for each in data]
    assert by_data_set(trials) == {"digits": [0, 1]}
    others = [{**base, "test_fingerprint": "e5f6a7b8"}, {"name": "cifar10", "test": 10_000}]
    trials += [replace(make_trial(), data=each) for each in others]
    assert by_data_set(trials) == {
        "digits (359 images, a1b2c3)": [0, 1],
        "digits (359 images, e5f6a7)": [2],
        "cifar10": [3],
    }


def test_conditions_stand_behind_the_heading_where_they_are_the_same(make_trial):
    one, other = measured(make_trial()), measured(make_trial(), batch_size=8)
    assert headline_conditions([one, one]) == " (1 thread, batch 1)"
    assert headline_conditions([one], is_brief=True) == " (1 thread)"
    assert headline_conditions([other], is_brief=True) == " (1 thread, batch 8)"
    assert headline_conditions([one, other]) == " (not comparable)"
    assert headline_conditions([]) == ""
    assert conditions(Latency(1, 4, 1.0, 1.0, 1.0)) == "4 threads, batch 1"
