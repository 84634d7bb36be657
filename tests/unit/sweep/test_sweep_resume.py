"""Which sweep a command goes on with, and under which numbers."""

import pytest

from qatexp.errors import ConfigError
from qatexp.pipeline import write_record
from qatexp.records import CONFIG_FINGERPRINT, Record
from qatexp.records.plan import Point, SweepPlan, load_plan
from qatexp.sweep.planning import write_plan
from qatexp.sweep.resume import earlier_plan, in_folder, is_finished, resumed, united


def plan(*fingerprints, run=None):
    points = (Point(number, (f"seed={name}",), name) for number, name in enumerate(fingerprints))
    return SweepPlan(("seed=0,1",), tuple(points), run, started_with=fingerprints)


@pytest.fixture
def sweep(tmp_path):
    """Write a sweep's folder with its plan."""

    def write(name, content):
        folder = tmp_path / name
        folder.mkdir()
        write_plan(content, folder)
        return folder

    return write


def test_a_plan_is_read_as_it_was_written(sweep):
    content = plan("a", "b", run="f00d")
    assert load_plan(sweep("1", content)) == content


def test_the_newest_sweep_of_the_same_points_goes_on_with_its_numbers(sweep, tmp_path):
    sweep("2026-01-01", plan("b", "a", run="old"))
    newest = sweep("2026-01-02", plan("b", "a", run="new"))
    sweep("2026-01-03", plan("a", "c"))
    (tmp_path / "2026-01-04").mkdir()  # without a plan
    folder, found = resumed(plan("a", "b"), resume="auto", sweeps=tmp_path)
    assert folder == newest
    assert [(point.number, point.fingerprint) for point in found.points] == [(1, "a"), (0, "b")]
    assert found.mlflow_run_id == "new"


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_other_points_are_a_sweep_of_their_own(sweep, tmp_path, resume):
    sweep("2026-01-01", plan("a", "b", "c"))
    asked = plan("a", "b") if resume == "auto" else plan("a", "b", "c")
    assert resumed(asked, resume=resume, sweeps=tmp_path) == (None, asked)


def test_points_that_a_folder_does_not_have_are_numbered_after_its_own(sweep, tmp_path):
    folder = sweep("mine", plan("a", "b", run="f00d"))
    found, numbered = resumed(plan("c", "b"), resume=str(folder), sweeps=tmp_path / "others")
    assert found == folder
    assert [(point.number, point.fingerprint) for point in numbered.points] == [(2, "c"), (1, "b")]
    whole = united(numbered, load_plan(folder).points)
    assert [(point.number, point.fingerprint) for point in whole.points] == [
        (0, "a"),
        (1, "b"),
        (2, "c"),
    ]


def test_a_word_that_is_misspelt_is_no_folder(tmp_path):
    with pytest.raises(ConfigError) as problem:
        resumed(plan("a"), resume="nevr", sweeps=tmp_path)
    assert str(problem.value) == (
        "sweep.resume=nevr: there is no such folder; allowed: auto, never, or the folder of a "
        "sweep, which holds a sweep.json; did you mean never?"
    )


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(ConfigError) as problem:
        resumed(plan("a"), resume=str(tmp_path), sweeps=tmp_path)
    assert str(problem.value).startswith(f"sweep.resume={tmp_path}: no readable plan of a sweep")
    assert "allowed: auto, never, or the folder of a sweep" in str(problem.value)


def test_the_command_that_started_a_sweep_finds_it_after_points_were_added(sweep, tmp_path):
    folder = sweep("mine", plan("a", "b"))
    _, added = resumed(plan("c"), resume=str(folder), sweeps=tmp_path)
    whole = united(added, load_plan(folder).points)
    write_plan(whole, folder)
    assert earlier_plan(folder).overrides == ("seed=0,1",)
    found, _ = resumed(plan("a", "b"), resume="auto", sweeps=tmp_path)
    assert found == folder


def test_points_go_behind_those_of_a_folder_that_is_given(sweep, tmp_path):
    folder = sweep("mine", plan("a", "b"))
    assert [p.number for p in in_folder(plan("b", "c"), folder, resume="auto").points] == [1, 2]
    with pytest.raises(ConfigError, match=r"^hydra\.sweep\.dir=.* holds a sweep already"):
        in_folder(plan("b"), folder, resume="never")
    empty = plan("a")
    assert in_folder(empty, tmp_path / "new", resume="never") == empty


def test_a_number_is_never_given_twice(sweep):
    changed = SweepPlan((), (Point(0, (), "new code"),))
    found = united(changed, plan("a", "b").points)
    assert [(point.number, point.fingerprint) for point in found.points] == [
        (0, "new code"),
        (1, "b"),
    ]


@pytest.mark.parametrize(
    ("status", "fingerprint", "expected"),
    [
        pytest.param("finished", "a", True, id="finished"),
        pytest.param("finished", "b", False, id="another configuration or code"),
        pytest.param("running", "a", False, id="cut off"),
        pytest.param("failed", "a", False, id="failed"),
        pytest.param(None, None, False, id="not started"),
    ],
)
def test_only_a_finished_record_of_the_same_experiment_counts(
    tmp_path, status, fingerprint, expected
):
    folder = tmp_path / "0"
    folder.mkdir()
    if status is not None:
        write_record(
            Record("x", status, {}, fingerprints={CONFIG_FINGERPRINT: fingerprint}), folder
        )
    assert is_finished(tmp_path, Point(0, (), "a")) is expected
