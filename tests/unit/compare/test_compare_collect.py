"""Which folders count as runs and sweeps, and what becomes of damaged ones."""

import json
from dataclasses import replace

import pytest

from qatexp.compare import collect, newest_sweep, pareto
from qatexp.compare.pareto import front_files
from qatexp.compare.report import report
from qatexp.errors import StoreError
from qatexp.records import RECORD_FILE


def test_trials_come_in_the_order_of_their_numbers_not_of_their_names(make_sweep, make_record):
    folder = make_sweep(*(make_record(qat=80.0 + i) for i in range(11)))
    sweep = collect(folder)
    assert [trial.name for trial in sweep.trials] == [str(i) for i in range(11)]
    assert [r.variants["qat"].deployed_top1 for r in sweep.records] == [80.0 + i for i in range(11)]
    assert not sweep.is_single
    assert sweep.others == []


def test_a_run_folder_is_a_comparison_of_its_own(make_sweep, make_record):
    folder = make_sweep(make_record())
    sweep = collect(folder / "0")
    assert sweep.is_single
    assert [trial.status for trial in sweep.trials] == ["finished"]


def test_what_has_no_figures_is_kept_with_its_reason(make_sweep, make_record, failed):
    running = replace(failed, status="running", error=None)
    folder = make_sweep(make_record(), failed, running, make_record(), make_record())
    (folder / "3" / RECORD_FILE).write_text("{")
    (folder / "4" / RECORD_FILE).unlink()
    sweep = collect(folder)
    assert [trial.status for trial in sweep.others] == [
        "failed",
        "running",
        "unreadable",
        "unreadable",
    ]
    problems = [trial.problem for trial in sweep.others]
    assert problems[0].startswith("failed in qat (training): the loss is not finite")
    assert problems[1] == "has not finished: it is still running, or was killed"
    assert problems[2].startswith(f"cannot be read: no readable record in {folder / '3'}")
    assert problems[3] == "left no record.json"
    assert len(sweep.records) == 3
    assert [trial.name for trial, _ in sweep.finished] == ["0"]


PLAN = {
    "schema": 1,
    "overrides": [],
    "mlflow_run_id": None,
    "started_with": [],
    "has_ended": False,
    "points": [{"number": n, "overrides": [], "fingerprint": str(n)} for n in range(6)],
}


@pytest.mark.parametrize(
    ("text", "planned"),
    [
        pytest.param(json.dumps(PLAN), 6, id="grid"),
        pytest.param("{", None, id="damaged"),
        pytest.param("{}", None, id="another-layout"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_the_number_of_trials_that_were_meant_is_that_of_the_plan(
    make_sweep, make_record, text, planned
):
    folder = make_sweep(make_record())
    if text is not None:
        (folder / "sweep.json").write_text(text)
    assert collect(folder).planned == planned


def test_a_trial_of_other_code_is_not_compared_with_those_of_today(make_sweep, make_record):
    """A sweep that goes on after a change of the code may be cut off before it runs again."""
    records = (make_record(fingerprints={"config": name}) for name in ("0", "old"))
    folder = make_sweep(*records, make_record())
    (folder / "sweep.json").write_text(json.dumps(PLAN))
    sweep = collect(folder)
    assert [trial.status for trial in sweep.trials] == ["finished", "outdated", "finished"]
    assert sweep.others[0].problem == (
        "is of an earlier version of this point: code or files have changed since it ran"
    )
    assert pareto(sweep.records) <= {0, 2}
    assert "3 of 6 trials, 1 outdated" in report(sweep).title


def test_other_folders_of_a_sweep_are_not_trials(make_sweep, make_record):
    folder = make_sweep(make_record())
    (folder / ".submitit").mkdir()
    (folder / "figures").mkdir()
    (folder / "7").write_text("a file")
    assert [trial.name for trial in collect(folder).trials] == ["0"]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_nothing_to_compare_names_the_folder(tmp_path, exists):
    folder = tmp_path / "here"
    if exists:
        folder.mkdir()
    with pytest.raises(StoreError, match=f"nothing to compare in {folder}: "):
        collect(folder)


def test_the_newest_sweep_is_found_by_its_date(tmp_path):
    for name in ("2026-01-02_10-00-00", "2025-12-31_23-59-59", ".hidden"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
    (tmp_path / "single" / "2027-01-01_00-00-00").mkdir(parents=True)
    assert newest_sweep(tmp_path) == tmp_path / "sweep" / "2026-01-02_10-00-00"


def test_without_sweeps_the_newest_single_run_is_found(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "single" / "2026-01-01_00-00-00").mkdir(parents=True)
    assert newest_sweep(tmp_path) == tmp_path / "single" / "2026-01-01_00-00-00"


def test_without_runs_the_message_says_how_to_start_one(tmp_path):
    with pytest.raises(StoreError, match=f"^no runs yet in {tmp_path}; start one with qatexp$"):
        newest_sweep(tmp_path)


def test_the_front_ignores_noise_of_latency_and_bytes_of_size(make_record):
    """Otherwise every trial is on it by being a percent faster, or a byte smaller."""
    best = make_record(qat=86.0, size_bytes=100_020, latency_ms=0.80)
    noise = make_record(qat=85.0, size_bytes=100_000, latency_ms=0.77)
    faster = make_record(qat=84.0, size_bytes=100_000, latency_ms=0.70)
    smaller = make_record(qat=83.0, size_bytes=50_000, latency_ms=0.80)
    assert pareto([noise, best, faster, smaller]) == {1, 2, 3}


def test_files_of_any_kind_keep_a_trial_off_the_front(make_record):
    """The trial's own ptq file, or fp32, may be better at no higher cost."""
    record = make_record(ptq=87.0, qat=86.0)
    assert pareto([record]) == set()
    assert [file.name for file in front_files([record])] == ["ptq"]
    slow = make_record(ptq=70.0, qat=80.0, size_bytes=2_000_000, latency_ms=3.0)
    assert [file.name for file in front_files([slow])] == ["fp32"]


def test_the_front_takes_ptq_where_there_is_no_qat_and_skips_what_failed(make_record, failed):
    only_ptq = make_record(qat=None, ptq=90.0)
    assert pareto([failed, make_record(), only_ptq]) == {2}
    assert pareto([failed]) == set()


def test_each_data_set_has_a_front_of_its_own(make_record):
    """The best file of hard images would be off any front with those of easy ones."""
    easy, hard = {"name": "digits", "test": 359}, {"name": "cifar100", "test": 10_000}
    records = [
        make_record(qat=60.0, ptq=10.0, data=hard),
        make_record(qat=99.0, ptq=90.0, data=easy),
        make_record(qat=50.0, ptq=10.0, data=hard),
    ]
    assert pareto(records) == {0, 1}
    assert pareto(records[1:]) == {0, 1}


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"cpu": "Other CPU"}, id="machine"),
        pytest.param({"cpu": "Test CPU", "versions": {"onnxruntime": "1.25"}}, id="runtime"),
    ],
)
def test_latencies_that_were_not_taken_alike_do_not_count_for_the_front(make_record, environment):
    """A file is on the front by being faster, not by having been timed on a faster machine."""
    best, slower = make_record(qat=86.0), make_record(qat=84.0, ptq=10.0, latency_ms=0.2)
    assert pareto([best, slower]) == {0, 1}
    assert pareto([best, replace(slower, environment=environment)]) == {0}
