"""A training is pruned where a finished trial dominates it, and never for its bits alone."""

from dataclasses import replace

import pytest

from qatexp.errors import PrunedError
from qatexp.pipeline import write_record
from qatexp.records import Record, Variant
from qatexp.records.plan import Search, SweepPlan
from qatexp.stages.pruning import Pruner, Running, domination, pruner_of
from qatexp.sweep.planning import write_plan


def finished(ptq, size, latency, *curve):
    variant = Variant(1, 1, 0.5, 100, size, size, latency, latency, 1.0, 1.0)
    fingerprints, curves = {"ptq": ptq}, {"qat": list(curve)}
    return Record(
        "x", "finished", {}, None, {"qat": variant}, None, None, {}, {}, fingerprints,
        val_top1_by_epoch=curves,
    )  # fmt: skip


EIGHT = finished("w8", 800, 1.0, 70.0, 90.0)
TWO = finished("w2", 200, 1.0, 50.0, 60.0)


@pytest.mark.parametrize(
    ("running", "records", "by"),
    [
        pytest.param(Running(1, 60.0, "w8"), [EIGHT], "0", id="same file, worse"),
        pytest.param(Running(1, 66.0, "w8"), [EIGHT], None, id="within the margin"),
        pytest.param(Running(1, 30.0, "w2"), [EIGHT, TWO], "1", id="worse than its own kind"),
        pytest.param(Running(1, 48.0, "w2"), [EIGHT, TWO], None, id="worse than a larger file"),
        pytest.param(Running(1, 40.0, "w8"), [EIGHT, TWO], "0", id="the largest lead counts"),
        pytest.param(Running(2, 50.0, "w8"), [EIGHT], "0", id="at the same epoch"),
        pytest.param(Running(3, 0.0, "w8"), [EIGHT], None, id="no such epoch"),
        pytest.param(Running(1, 0.0, "w4"), [EIGHT, TWO], None, id="size not known yet"),
        pytest.param(
            Running(1, 30.0, "w8"),
            [finished("w8", 800, 1.0), finished("w2", 200, 1.2, 50.0)],
            None,
            id="a slower one dominates nothing",
        ),
    ],
)
def test_who_is_dominated(running, records, by):
    named = [(str(number), record) for number, record in enumerate(records)]
    found = domination(running, named, margin=5.0)
    assert (found and found.name) == by


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"data": {"name": "easier"}}, id="other images"),
        pytest.param({"environment": {"cpu": "faster"}}, id="other machine"),
    ],
)
def test_what_does_not_compare_dominates_nothing(other):
    small = replace(finished("w4", 400, 0.1, 95.0), **other)
    running = Running(1, 60.0, "w8")
    assert domination(running, [("0", EIGHT), ("1", small)], margin=5.0).name == "0"
    peer = finished("w8", 800, 1.0)
    assert domination(running, [("0", peer), ("1", small)], margin=5.0) is None


def test_a_trial_looks_at_those_beside_it(tmp_path):
    for name, record in {"0": EIGHT, "1": Record("x", "running", {})}.items():
        (tmp_path / name).mkdir()
        write_record(record, tmp_path / name)
    pruner = Pruner(tmp_path / "2", 5.0, epochs=2)
    pruner.after_epoch(1, 69.0, ptq="w8")
    pruner.after_epoch(2, 20.0, ptq="w8")  # the last one: what is left costs little
    text = "after epoch 1 of 2: trial 0 is no larger and no slower, and was 30.00 points better"
    with pytest.raises(PrunedError, match=text):
        pruner.after_epoch(1, 40.0, ptq="w8")


def test_only_trials_of_a_search_are_pruned(points, tmp_path):
    (plain,), (config,) = points(), points("sweep.prune_margin=3")
    folder = tmp_path / "0"
    assert pruner_of(config, folder) is None  # a single run
    search = Search("f", ("max:top1",), ("a=1,2",), 3)
    write_plan(SweepPlan((), (), search=search), tmp_path)
    assert pruner_of(plain, folder) is None
    assert pruner_of(config, folder) == Pruner(folder, 3.0, config.schedule.qat.epochs)


def test_latencies_count_at_one_pace():
    """A trial measured in a fast moment is not faster, and one in a slow moment not slower."""

    def paced(record, fp32_ms):
        fp32 = Variant(1, 1, 0.5, 100, 3200, 3200, fp32_ms, fp32_ms, 1.0, 1.0)
        return replace(record, variants={**record.variants, "fp32": fp32})

    peer = paced(finished("w8", 800, 0.52, 70.0), 2.6)  # 0.2 of its fp32
    slower = paced(finished("w4", 400, 0.50, 90.0), 2.0)  # 0.25
    running = Running(1, 60.0, "w8")
    found = domination(running, [("0", peer), ("1", slower)], margin=5.0)
    assert found.name == "0"
