"""A sweep's folder belongs to one process, and its end is never lost."""

import pytest

from qatexp.compare import collect
from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    ModelConfig,
    TrackingConfig,
)
from qatexp.errors import StoreError, TrackingError
from qatexp.pipeline import write_record
from qatexp.records import Record, Variant
from qatexp.records.plan import Point, Search, SweepPlan, load_plan
from qatexp.sweep import session
from qatexp.sweep.callback import SweepCallback
from qatexp.sweep.opening import open_sweep
from qatexp.sweep.search.workers import Worker
from qatexp.sweep.session import SweepSession

CONFIG = ExperimentConfig(
    "x", ModelConfig("a.b"), DatasetConfig("a.b"), tracking=TrackingConfig(enabled=False)
)
PLAN = SweepPlan((), (Point(0, (), "a"),))


@pytest.fixture
def opened(tmp_path):
    """A sweep that is running in this process."""
    found = open_sweep(CONFIG, tmp_path, PLAN)
    yield found
    if found in session._open:
        found._leave()


def test_a_folder_takes_one_process_at_a_time(opened, tmp_path):
    with pytest.raises(StoreError, match=r"another process is running the sweep in .*resume=never"):
        open_sweep(CONFIG, tmp_path, PLAN)
    opened._leave()
    open_sweep(CONFIG, tmp_path, PLAN)._leave()


def test_a_plan_says_that_its_sweep_has_ended(opened, tmp_path, monkeypatch):
    assert not load_plan(tmp_path).has_ended
    (tmp_path / "0").mkdir()
    assert opened.finish() == 1  # its only trial left no record
    assert load_plan(tmp_path).has_ended


def test_an_end_that_fails_is_no_success(opened, monkeypatch):
    def fails(folder):
        raise OSError("the disk is full")

    monkeypatch.setattr(session, "collect", fails)
    with pytest.raises(SystemExit) as ended:
        SweepCallback().on_multirun_end(config=None)
    assert ended.value.code == "qatexp: the sweep cannot be compared: the disk is full"
    assert opened in session._open  # what is cut off is closed by the command's end
    monkeypatch.setattr(session, "collect", collect)


def test_what_cannot_be_printed_is_there_nevertheless(opened, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("the terminal is gone")

    monkeypatch.setattr(session, "print_comparison", fails)
    (tmp_path / "0").mkdir()
    with pytest.raises(OSError, match="the terminal is gone"):
        opened.finish()
    assert (tmp_path / "compare.md").exists()
    assert load_plan(tmp_path).has_ended
    assert opened not in session._open  # its parent run is closed, and not to be closed as cut off


class Store:
    """What is told to MLflow of a sweep's own run."""

    def __init__(self):
        self.ends = []
        self.metrics = {}

    def close_dead_runs(self):
        pass

    def finish_sweep(self, run_id, *, status, metrics, **_):
        self.ends.append((run_id, status))
        self.metrics = metrics


def test_a_server_that_is_gone_hides_no_comparison(opened, tmp_path, capsys, monkeypatch):
    class Gone(Store):
        def close_dead_runs(self):
            raise TrackingError("tracking.uri=http://mlflow: no answer")

    (tmp_path / "0").mkdir()
    monkeypatch.setattr(opened, "store", Gone())
    monkeypatch.setattr(opened, "run_id", "f00d")
    assert opened.finish() == 1
    assert "compare.md" in capsys.readouterr().out
    assert not load_plan(tmp_path).has_ended  # the same command closes it


@pytest.mark.parametrize(
    ("names", "best"),
    [
        pytest.param(("digits", "digits"), 91.0, id="one data set"),
        pytest.param(("digits", "cifar10"), None, id="two data sets"),
    ],
)
def test_a_sweep_has_a_best_accuracy_where_accuracies_compare(tmp_path, names, best):
    for number, name in enumerate(names):
        top1 = 90.0 + number
        variant = Variant(top1, top1, 0.5, 1, 9, 9, 1.0, 1.0, 1.0, 1.0)
        record = Record("x", "finished", {}, variants={"qat": variant}, data={"name": name})
        (tmp_path / str(number)).mkdir()
        write_record(record, tmp_path / str(number))
    (tmp_path / "compare.md").write_text("")
    store = Store()
    SweepSession(CONFIG, tmp_path, store, "run")._close(collect(tmp_path), [], [], 1.0)
    assert store.metrics.get("best_deployed_top1") == best


@pytest.fixture
def search(tmp_path):
    """A search that this process works on, perhaps with others."""
    found = open_sweep(CONFIG, tmp_path, SweepPlan((), (), search=Search("f", (), (), 3)))
    found.store, found.run_id = Store(), "f00d"
    (tmp_path / "0").mkdir()
    yield found
    if found in session._open:
        found._leave()


def test_an_interrupt_in_one_terminal_leaves_the_search_to_the_other_one(search, tmp_path):
    with Worker(tmp_path):
        search.abandon()
    assert search.store.ends == []
    session._open.append(search)
    search.abandon()
    assert search.store.ends == [("f00d", "KILLED")]


@pytest.mark.parametrize("elsewhere", [frozenset({"0"}), frozenset()], ids=["running", "finished"])
def test_what_still_runs_elsewhere_is_not_said_to_be_finished(search, capsys, elsewhere):
    search.left, search.elsewhere = frozenset(), elsewhere
    search.finish()
    printed = capsys.readouterr().out
    assert ("All trials were finished already" in printed) is (not elsewhere)
    assert ("Still running in other processes" in printed) is bool(elsewhere)
