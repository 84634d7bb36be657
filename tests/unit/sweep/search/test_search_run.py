"""Ask, launch, tell: resumed without repeats, whatever ended the command before."""

import time
from dataclasses import replace

import made_up_search
import pytest
from made_up_search import SPACE, Trials
from optuna.trial import TrialState
from rich.console import Console

from qatexp.config.schema import SweepConfig
from qatexp.errors import ConfigError, StoreError
from qatexp.records.plan import SweepPlan, load_plan
from qatexp.store.heartbeat import EXPIRY_SECONDS
from qatexp.sweep.resume import in_folder, resumed, search_is_done
from qatexp.sweep.search import pulse as search_pulse
from qatexp.sweep.search.limits import read_limits
from qatexp.sweep.search.pulse import is_beating, pulse
from qatexp.sweep.search.results import tell
from qatexp.sweep.search.workers import Worker
from qatexp.sweep.session import enter


def test_a_search_runs_so_many_trials_and_prints_its_front(search, trials, tmp_path):
    study, session = search(trials)
    assert trials.launched == ["0", "1", "2", "3", "4", "5"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6
    values = {trial.number: trial.values for trial in study.trials}
    assert all(1000 <= size <= 8000 for _, size in values.values())
    assert len({tuple(trial.params.items()) for trial in study.trials}) == 6
    assert session.left == frozenset(trials.launched)
    assert search_is_done(tmp_path, load_plan(tmp_path))
    console = Console(record=True, width=200)
    session.epilogue(console)
    text = console.export_text()
    assert "Pareto front by max:deployed_top1, min:size_bytes" in text
    assert "6 finished trials on the front" in text


@pytest.mark.parametrize("storage", [None, "sqlite:///study.db"], ids=["journal", "sqlite"])
def test_a_search_that_is_cut_off_goes_on_as_if_it_had_not_been(
    search, trials, tmp_path, monkeypatch, storage
):
    """Cut in trial 2 before its record, in trial 3 behind it; then the points are the same."""
    monkeypatch.chdir(tmp_path)
    trials.ends = {2: "cut", 4: "late"}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(trials, storage=storage)
    study, _ = search(trials, storage=storage)
    assert trials.launched == ["0", "1", "2", "2", "3", "4", "5"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6
    numbers = [point.number for point in load_plan(tmp_path).points]
    assert numbers == [0, 1, 2, 3, 4, 5]
    _, session = search(trials, storage=storage)
    assert len(trials.launched) == 7
    assert session.left == frozenset()


def test_points_of_a_search_that_was_cut_off_are_those_of_one_that_was_not(
    search, trials, tmp_path_factory
):
    trials.ends = {1: "cut", 3: "cut"}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(trials)
    search(trials)
    cut = [trials.overrides[str(number)] for number in range(6)]
    undisturbed = Trials(tmp_path_factory.mktemp("undisturbed"))
    search(undisturbed)
    assert [undisturbed.overrides[str(number)] for number in range(6)] == cut


def test_failures_are_told_and_made_up_for_by_the_next_command(search, trials):
    trials.ends = {1: "failed", 2: "pruned"}
    study, _ = search(trials)
    states = [trial.state for trial in study.trials]
    assert states[:3] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert len(states) == 6  # one command runs so many, and no more
    assert "failed in qat" in study.trials[1].user_attrs["qatexp.reason"]
    study, _ = search(trials)
    assert trials.launched == ["0", "1", "2", "3", "4", "5", "6"]
    assert study.trials[6].state is TrialState.COMPLETE


@pytest.mark.parametrize(
    ("stage", "launched"),
    [("qat", ["0", "1", "2", "3", "4", "5"]), ("process", ["0", "1", "0", "2", "3", "4", "5"])],
    ids=["by itself", "killed"],
)
def test_what_failed_in_a_batch_that_was_cut_off_does_not_run_again(
    search, trials, stage, launched
):
    """A killed process does: it may have been so with its sweep."""
    trials.ends, trials.stage = {0: "failed", 1: "late"}, stage
    with pytest.raises(KeyboardInterrupt):
        search(trials, n_jobs=2)
    study, _ = search(trials, n_jobs=2)
    assert trials.launched == launched
    failed = study.trials[0].state is TrialState.FAIL
    assert failed is (stage == "qat")


def test_a_point_that_was_asked_for_and_not_taken_is_the_next_one(search, trials):
    """A process may have ended between the two; each point would be asked for twice since."""
    space = ["qconfig.bits=choice(8,4)", "seed=range(0,2)"]
    study, _ = search(trials, *space, sampler="grid", n_trials=1)
    study.enqueue_trial({"qconfig.bits": 8, "seed": 1})
    study, _ = search(trials, *space, sampler="grid", n_trials=9)
    assert trials.launched == ["0", "1", "2", "3"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4


def test_a_small_space_is_tried_once_and_no_more(search, trials, caplog):
    caplog.set_level("INFO")
    study, _ = search(trials, "qconfig.bits=choice(2,4)", "seed=0,1", n_trials=10)
    points = [tuple(sorted(trials.overrides[name])) for name in trials.launched]
    assert len(set(points)) == len(points) == 4
    assert "all 4 points were tried" in caplog.text
    others = [trial for trial in study.trials if trial.state is not TrialState.COMPLETE]
    assert all("the same as trial" in trial.user_attrs["qatexp.reason"] for trial in others)


def test_a_grid_is_searched_in_order(search, trials):
    search(trials, "qconfig.bits=choice(8,4)", "seed=range(0,2)", sampler="grid", n_trials=9)
    assert [trials.overrides[name] for name in trials.launched] == [
        ["qconfig.bits=8", "seed=0"],
        ["qconfig.bits=8", "seed=1"],
        ["qconfig.bits=4", "seed=0"],
        ["qconfig.bits=4", "seed=1"],
    ]


def test_points_that_exclude_each_other_are_never_launched(search, trials, caplog):
    space = ["qconfig.bits=choice(8,3)", "schedule.qat.lr_scale=choice(0.1,0.5)"]
    with pytest.raises(ConfigError, match="exclude each other"):
        search(trials, "qconfig.bits=choice(3,8)", "schedule.qat.lr_scale=choice(0.5,0.1)")
    search(trials, *space, n_trials=9)
    assert len(trials.launched) == 3
    assert "the point qconfig.bits=3 schedule.qat.lr_scale=0.5 is left out: 3 bits" in caplog.text


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_constraints_reach_the_study(search, trials, sampler):
    settings = {"constraints": ["size_bytes <= 4000"], "n_trials": 12, "sampler": sampler}
    trials.ends = {1: "failed", 2: "pruned"}
    study, session = search(trials, **settings, n_jobs=3)
    for trial in study.trials:
        if trial.state is TrialState.COMPLETE:
            assert (trial.constraints["size_bytes <= 4000"] > 0) == (trial.values[1] > 4000)
    assert len(trials.launched) == 12
    console = Console(record=True, width=200)
    session.epilogue(console)
    assert "1 pruned, 1 failed" in console.export_text()


@pytest.mark.parametrize("limit", [4000, 500], ids=["some inside", "none inside"])
def test_what_a_search_calls_the_best_keeps_its_constraints(search, trials, capsys, caplog, limit):
    """The most accurate trials are those of 8 bits, with 8000 bytes."""
    constraint = f"size_bytes <= {limit}"
    _, session = search(trials, "qconfig.bits=choice(8,4)", constraints=[constraint], n_trials=2)
    session.config = replace(session.config, sweep=SweepConfig(select=["max:deployed_top1"]))
    enter(session)
    assert session.finish() == 0
    printed = " ".join(capsys.readouterr().out.split())
    if limit == 4000:
        among = "among 1 of 2 finished trials (1 outside hydra.sweeper.constraints)"
        assert f"best: qat of trial 0 (4), {among}, by max" in printed
    else:
        assert "best:" not in printed
        assert "none of 2 finished trials is the best, and none is registered" in caplog.text
    assert (trials.folder / "best.json").exists() is (limit == 4000)


def test_a_trial_of_a_living_process_is_left_to_it(search, trials, tmp_path):
    trials.ends = {0: "cut"}
    with pytest.raises(KeyboardInterrupt):
        search(trials)
    study, _ = search(trials, n_trials=1)
    with Worker(tmp_path) as other:
        trial = study.ask()
        trial.set_user_attr("qatexp.folder", str(tmp_path.resolve()))
        trial.set_user_attr("qatexp.worker", other.name)
        _, session = search(trials, n_trials=3)
        assert trials.launched == ["0", "0", "2"]
        assert session.elsewhere == frozenset({"1"})
    search(trials, n_trials=3)  # it has died in the meantime
    assert trials.launched == ["0", "0", "2", "1"]


@pytest.fixture
def shared(search, trials, tmp_path_factory, monkeypatch):
    """A sweep in a folder of its own that shares a study, in which another folder has a trial."""
    monkeypatch.chdir(tmp_path_factory.mktemp("home"))
    settings = {"storage": "sqlite:///study.db", "study_name": "mine"}
    study, _ = search(trials, n_trials=1, **settings)

    def run(seen, **more):
        trial = study.ask()
        trial.set_user_attr("qatexp.folder", "/on/another/machine")
        trial.set_user_attr("qatexp.worker", "node7-1-1")
        study.set_user_attr("qatexp.seen.node7-1-1", seen)
        return search(trials, n_trials=3, **settings, **more)

    return run


def test_a_trial_of_another_machine_keeps_no_sweep_open(shared, trials):
    study, session = shared(seen=time.time())
    assert trials.launched == ["0", "2"]
    assert session.elsewhere == frozenset()
    (own,) = {trial.user_attrs["qatexp.worker"] for trial in study.trials[2:]}
    assert study.user_attrs[f"qatexp.seen.{own}"] == 0  # it has ended, and keeps nothing


def test_a_trial_of_a_machine_that_is_gone_is_run_by_another_one(shared, trials):
    study, session = shared(seen=time.time() - EXPIRY_SECONDS - 1)
    assert trials.launched == ["0", "1", "2"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert session.elsewhere == frozenset()


@pytest.mark.parametrize("storage", ["study.journal", "sqlite:///study.db"])
def test_a_process_renews_its_sign_of_life(search, trials, monkeypatch, tmp_path, storage):
    monkeypatch.chdir(tmp_path)
    study, _ = search(trials, n_trials=1, storage=storage)
    monkeypatch.setattr(search_pulse, "RENEW_SECONDS", 0.01)
    with pulse(study, "mine"):
        first = study.user_attrs["qatexp.seen.mine"]
        while study.user_attrs["qatexp.seen.mine"] == first:
            assert is_beating(study, "mine")
    assert not is_beating(study, "mine")


def test_what_another_process_has_ended_is_not_told_again(make_task, search, trials, caplog):
    study, _ = search(trials, n_trials=1)
    task = make_task()
    trial = study.ask()
    study.tell(trial, [90.0, 1000.0])
    limits = read_limits([], [])
    tell(study, trial, trials.folder, objectives=task.settings.objectives, limits=limits)
    assert "trial 1 was taken by another process, as this one stood still" in caplog.text


def test_a_study_of_another_search_is_refused(search, trials, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"storage": "study.journal", "study_name": "mine", "n_trials": 1}
    search(trials, **settings)
    with pytest.raises(
        StoreError, match=r"the study mine .* has other objectives or another space"
    ):
        search(trials, "qconfig.bits=choice(2,4)", **settings)


def test_a_command_finds_its_search_and_no_other(make_task, search, tmp_path):
    sweeps, folder = tmp_path / "sweeps", tmp_path / "sweeps" / "1"
    folder.mkdir(parents=True)
    search(Trials(folder))
    found, plan = resumed(make_task().plan, resume="auto", sweeps=sweeps)
    assert (found, len(plan.points)) == (folder, 6)
    found, plan = resumed(make_task(n_trials=30).plan, resume="auto", sweeps=sweeps)
    assert (found, plan.search.n_trials) == (folder, 30)
    for changed in ({"seed": 1}, {"sampler": "random"}, {"constraints": ["bits < 8"]}):
        assert resumed(make_task(**changed).plan, resume="auto", sweeps=sweeps)[0] is None
    with pytest.raises(ConfigError, match=r"holds a search with the space .*, and this command"):
        in_folder(make_task(SPACE[0]).plan, folder, resume="auto")
    with pytest.raises(ConfigError, match=r"holds a search, and this command asks for a grid"):
        in_folder(SweepPlan((), ()), folder, resume="auto")


def test_pruning_needs_what_it_looks_at(make_task, monkeypatch):
    plain = made_up_search.PLAIN
    pruning = replace(plain, sweep=replace(plain.sweep, prune_margin=5.0))
    monkeypatch.setattr(made_up_search, "PLAIN", pruning)
    make_task()
    with pytest.raises(ConfigError, match=r"prune_margin=5.0 .* about parity/flipped too"):
        make_task(objectives=["min:parity/flipped"])
    blind = replace(pruning, dataset=replace(plain.dataset, val_fraction=0.0))
    monkeypatch.setattr(made_up_search, "PLAIN", blind)
    with pytest.raises(ConfigError, match=r"prune_margin=5.0 looks at the validation images"):
        make_task()
