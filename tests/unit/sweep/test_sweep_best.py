"""What a sweep's end says of its best trial, keeps of it, and registers."""

import json

import pytest

from qatexp.compare import collect
from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    RegistryConfig,
    SweepConfig,
    TrackingConfig,
)
from qatexp.errors import TrackingError
from qatexp.pipeline import write_record
from qatexp.records import Record, Variant
from qatexp.sweep import best
from qatexp.sweep.best import BEST_FILE, settle_best
from qatexp.tracking import Registered


class FakeStore:
    """Counts registrations; its alias points at `holder`, at first at no version."""

    def __init__(self, problem=None, holder=None):
        self.problem = problem
        self.holder = holder
        self.calls = []
        self.notes = []

    def version_at(self, *, model, alias):
        return self.holder

    def register(self, run_id, variant, *, model, alias, tags, note):
        if self.problem is not None:
            raise self.problem
        self.calls.append((run_id, variant, tags))
        self.holder = len(self.calls)
        return Registered(model, self.holder, alias)

    def set_note(self, run_id, note):
        self.notes.append((run_id, note))


def config(*, select=("max:deployed_top1",), enabled=True, **registry):
    tracking = TrackingConfig(enabled=enabled, registry=RegistryConfig(**registry))
    sweep = SweepConfig(select=list(select))
    return ExperimentConfig(
        "x", ModelConfig("a.b"), DatasetConfig("a.b"), tracking=tracking, sweep=sweep
    )


@pytest.fixture
def sweep(tmp_path):
    """Two finished trials: the second is more accurate and larger."""
    for number, (top1, size) in enumerate([(80.0, 100), (90.0, 900)]):
        _add_trial(tmp_path, number, top1, size)
    return collect(tmp_path)


def _add_trial(sweep, number, top1, size, *, loss=0.5):
    variant = Variant(top1, top1, loss, 1, size, size, 1.0, 1.0, 1.0, 1.0, file="artifacts/q")
    folder = sweep / str(number)
    folder.mkdir()
    params = {"model": "net", "dataset": "digits", "seed": 2 + number}
    data = {"name": "digits", "test": 1000}
    record = Record("net-digits", "finished", params, f"run{number}", {"qat": variant})
    write_record(Record(**{**_fields(record), "data": data}), folder)


def _fields(record):
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def settle(sweep, asked, store):
    return settle_best(sweep, asked, store=store, sweep_run="parent", objection=lambda _: "")


def kept(sweep):
    return json.loads((sweep.folder / BEST_FILE).read_text())


def test_the_best_trial_is_told_kept_and_registered(sweep):
    store = FakeStore()
    lines = settle(sweep, config(), store)
    assert lines[0].startswith("best: qat of trial 1 (seed 3), by max deployed_top1 (within 0.9")
    assert lines[1] == "registered as version 1 of net-digits: models:/net-digits@best"
    ((run_id, variant, tags),) = store.calls
    assert (run_id, variant) == ("run1", "qat")
    assert (tags["deployed_top1"], tags["size_bytes"]) == (90.0, 900)
    assert (tags["qatexp.trial"], tags["qatexp.sweep_run"]) == ("1", "parent")
    assert "val_top1" not in tags  # this sweep has no validation images
    assert kept(sweep)["file"] == "1/artifacts/q"
    assert kept(sweep)["registered"]["version"] == 1


def test_a_best_trial_without_a_mark_in_the_table_is_explained(sweep):
    """The front takes every digit of the test images; the rule calls both trials as good."""
    _add_trial(sweep.folder, 2, 90.3, 900, loss=0.6)
    asked = config(select=("max:deployed_top1", "min:loss"))
    lines = settle(collect(sweep.folder), asked, FakeStore())
    assert lines[0].startswith("best: qat of trial 1 ")
    assert lines[1].startswith("trial 1 is not on the front: ")


def test_the_same_sweep_again_registers_nothing(sweep):
    first = settle(sweep, config(), FakeStore())
    again = FakeStore(holder=1)
    assert settle(sweep, config(), again) == first
    assert again.calls == []


def test_an_alias_that_another_sweep_has_taken_is_not_claimed(sweep, monkeypatch):
    """Nothing ran, so that nothing moves: the alias is that of the sweep that has ended last."""
    settle(sweep, config(), FakeStore())
    store = FakeStore(holder=7)
    monkeypatch.setattr(best, "open_store", lambda *_, **__: store)
    assert settle(sweep, config(), None)[1:] == [
        "registered as version 1 of net-digits, whose alias best is at 7 now"
    ]
    assert store.calls == []
    assert kept(sweep)["registered"]["version"] == 1


@pytest.mark.parametrize(
    "holder", [pytest.param(7, id="taken"), pytest.param(None, id="or deleted")]
)
def test_a_sweep_that_goes_on_takes_its_alias_back(sweep, holder):
    first = settle(sweep, config(), FakeStore())
    store = FakeStore(holder=holder)
    assert settle(sweep, config(), store) == first
    assert [call[0] for call in store.calls] == ["run1"]


def test_where_the_alias_points_cannot_be_told_without_the_store(sweep, monkeypatch, caplog):
    settle(sweep, config(), FakeStore())

    def refuse(*_, **__):
        raise TrackingError("no such server")

    monkeypatch.setattr(best, "open_store", refuse)
    assert len(settle(sweep, config(), None)) == 1
    text = "whether the best trial is registered cannot be told: no such server"
    assert caplog.messages == [text]
    assert kept(sweep)["registered"]["version"] == 1


def test_a_note_that_cannot_be_changed_leaves_the_registration(sweep, monkeypatch, caplog):
    settle(sweep, config(), FakeStore())
    (sweep.folder / "compare.md").write_text("| trial |")
    store = FakeStore()

    def refuse(*_):
        raise TrackingError("the run is closed")

    store.set_note = refuse
    monkeypatch.setattr(best, "open_store", lambda *_, **__: store)
    lines = settle(sweep, config(select=["min:size_bytes"]), None)
    assert lines[1].startswith("registered as version 1 of net-digits")
    assert kept(sweep)["registered"]["version"] == 1
    assert caplog.messages == [
        "the page of the sweep still names its earlier best trial: the run is closed"
    ]


@pytest.mark.parametrize(
    ("changed", "run_id"),
    [
        pytest.param({"select": ["min:size_bytes"]}, "run0", id="rule"),
        pytest.param({"alias": "champion"}, "run1", id="alias"),
        pytest.param({"model": "mine"}, "run1", id="model"),
    ],
)
def test_what_was_asked_for_anew_is_registered_anew(sweep, changed, run_id):
    settle(sweep, config(), FakeStore())
    store = FakeStore()
    settle(sweep, config(**changed), store)
    assert [call[0] for call in store.calls] == [run_id]


def test_a_sweep_that_had_ended_gets_a_new_note(sweep, monkeypatch):
    """Its parent run is closed; its page must not go on naming the trial of the earlier rule."""
    settle(sweep, config(), FakeStore())
    (sweep.folder / "compare.md").write_text("| trial |")
    store = FakeStore()
    monkeypatch.setattr(best, "open_store", lambda *_, **__: store)
    lines = settle(sweep, config(select=["min:size_bytes"]), None)
    assert store.notes == [("parent", "\n\n".join([*lines, "| trial |"]))]


def test_without_tracking_the_best_trial_is_kept_in_the_folder_alone(sweep):
    assert len(settle(sweep, config(enabled=False), None)) == 1
    assert kept(sweep)["registered"] is None


def test_registration_can_be_switched_off(sweep):
    asked = config()
    asked.tracking.registry.enabled = False
    store = FakeStore()
    assert len(settle(sweep, asked, store)) == 1
    assert store.calls == []


def test_a_store_that_does_not_take_it_costs_a_warning(sweep, caplog):
    lines = settle(sweep, config(), FakeStore(TrackingError("the disk is full")))
    assert len(lines) == 1
    assert caplog.messages == ["the best trial is not registered: the disk is full"]
    store = FakeStore()
    assert len(settle(sweep, config(), store)) == 2  # the next end of the sweep tries again


def test_a_rule_that_decides_nothing_is_said(sweep, caplog):
    assert settle(sweep, config(select=["max:val_top1"]), FakeStore()) == []
    assert "no finished trial has val_top1" in caplog.text
    assert not (sweep.folder / BEST_FILE).exists()
