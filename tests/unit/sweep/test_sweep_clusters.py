"""Launchers on clusters: what a trial gets, what runs it there, and what they refuse."""

import json
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig
from qatexp.config.variables import PARENT_RUN
from qatexp.errors import ConfigError
from qatexp.machine.processes import Process
from qatexp.pipeline import write_record
from qatexp.records import CONFIG_FINGERPRINT, Record, load_record
from qatexp.records.plan import Point, SweepPlan
from qatexp.store.progress import read_progress
from qatexp.sweep import processes
from qatexp.sweep.endings import Ending
from qatexp.sweep.launcher import TrialLauncher
from qatexp.sweep.planning import write_plan
from qatexp.sweep.processes import OUTPUT_FILE, PROGRESS_FILE, Command, Job, prepare
from qatexp.sweep.ray_cluster import RayAttempt, RayLauncher, _fitting
from qatexp.sweep.remote import LOCK_FILE, RemoteTrial, remote_command
from qatexp.sweep.resources import Asked, Resources, resources, shares, told, warn_of_sqlite
from qatexp.sweep.submitit_jobs import SubmititLauncher

HYDRA = OmegaConf.create(
    {"hydra": {"job": {"config_name": None}, "runtime": {"config_sources": []}}}
)
"""What a sweep's configuration says of a trial's command."""
CONFIG = ExperimentConfig("x", ModelConfig("a.b"), DatasetConfig("a.b"))


def job(folder, *, threads=None, device="cpu"):
    """A trial of its own number of threads, on a device of its own."""
    trainer = replace(CONFIG.trainer, threads=threads)
    return Job((), folder, replace(CONFIG, trainer=trainer, device=device))


@pytest.fixture
def config(points):
    def checked(*overrides):
        (found,) = points(*overrides)
        return found

    return checked


@pytest.mark.parametrize(
    ("overrides", "asked", "expected"),
    [
        pytest.param([], Asked(None, None, None), Resources(1, 0, None), id="nothing is set"),
        pytest.param(
            ["trainer.threads=4"], Asked(None, None, 8), Resources(4, 0, 8), id="threads count"
        ),
        pytest.param(
            ["device=cuda", "trainer.devices=2"],
            Asked(2, None, None),
            Resources(2, 2, None),
            id="a GPU for each device",
        ),
        pytest.param(
            ["device=cuda"], Asked(None, 0.5, None), Resources(1, 0.5, None), id="half a GPU"
        ),
    ],
)
def test_a_trial_gets_what_it_uses_unless_told_otherwise(config, overrides, asked, expected):
    assert resources(asked, config(*overrides), launcher="ray") == expected


@pytest.mark.parametrize(
    ("overrides", "asked", "text"),
    [
        (["device=cuda:1"], Asked(None, None, None), "device=cuda:1 is not possible with hydra/"),
        (["device=cuda"], Asked(None, 0, None), "hydra.launcher.gpus=0 is less than a trial uses"),
        ([], Asked(0, None, None), "hydra.launcher.cpus=0 is not possible; allowed: null, or"),
        ([], Asked("many", None, None), "hydra.launcher.cpus=many is not possible"),
        ([], Asked(1.5, None, None), "hydra.launcher.cpus=1.5 is not possible; allowed: whole"),
    ],
    ids=["a GPU by number", "no GPU", "no CPU", "no number", "half a CPU"],
)
def test_what_does_not_fit_the_trials_is_refused(config, overrides, asked, text):
    with pytest.raises(ConfigError, match=f"^{text}"):
        resources(asked, config(*overrides), launcher="ray")


@pytest.mark.parametrize(
    ("launcher", "package", "extra"),
    [("ray", "ray", "ray"), ("submitit_local", "submitit", "submitit")],
)
def test_a_missing_package_is_named_with_its_extra(points, monkeypatch, launcher, package, extra):
    monkeypatch.setattr("qatexp.sweep.resources.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"the package {package}, .*'qatexp\\[{extra}\\]'"):
        points("-m", f"hydra/launcher={launcher}", "seed=0,1")


def test_joblib_is_offered_only_where_it_is_and_local_in_its_place(points, monkeypatch):
    monkeypatch.setattr("qatexp.sweep.launchers.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"hydra-joblib-launcher.*hydra/launcher=local runs"):
        points("-m", "hydra/launcher=joblib", "seed=0,1")


def test_slurm_without_its_commands_is_refused(points, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"submitit_slurm needs Slurm's commands .*_local"):
        points("-m", "hydra/launcher=submitit_slurm", "seed=0,1")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"cluster": "local", "array_parallelism": 0}, "array_parallelism=0 is not possible"),
        ({"cluster": "local", "gpus": 0.5}, "gpus=0.5 is not possible"),
        ({"cluster": "local", "gpus": 1, "array_parallelism": 2}, "the same GPUs to all trials"),
    ],
    ids=["no trial at a time", "half a GPU", "one GPU for all"],
)
def test_submitit_refuses_what_it_cannot_give(config, given, text):
    with pytest.raises(ConfigError, match=text):
        SubmititLauncher(**given).check(config())


def test_a_mapping_is_needed_where_ray_takes_one(config):
    with pytest.raises(ConfigError, match=r"^hydra\.launcher\.init=3 is not possible; allowed"):
        RayLauncher(init=3).check(config())


def test_a_machine_runs_as_many_trials_as_its_scarcest_part_allows():
    machine = {"CPU": 8.0, "GPU": 2.0, "memory": 64e9}
    assert _fitting(machine, Resources(2, 0, None), {}) == 4
    assert _fitting(machine, Resources(1, 0.5, None), {}) == 4
    assert _fitting(machine, Resources(1, 0, 32), {}) == 2
    assert _fitting(machine, Resources(1, 3, None), {}) == 0
    assert _fitting(machine | {"a100": 1.0}, Resources(1, 0, None), {"a100": 0.5}) == 2
    assert _fitting(machine, Resources(1, 0, None), {"a100": 1}) == 0


def test_every_trial_gets_what_its_own_configuration_asks_for(tmp_path, caplog):
    """The sweep's own configuration has none of the keys that vary."""
    jobs = [
        job(tmp_path / "0", threads=4),
        job(tmp_path / "1", threads=2, device="cuda"),
        job(tmp_path / "2", threads=4),
    ]
    found = shares(Asked(None, None, None), jobs, launcher="ray")
    assert list(found.values()) == [Resources(4, 0, None), Resources(2, 1, None), found[jobs[0]]]
    assert told(found.values()) == "4 CPUs, 0 GPUs or 2 CPUs, 1 GPUs for each trial"
    assert caplog.records == []
    shares(Asked(3, None, None), [*jobs, job(tmp_path / "3")], launcher="ray")
    assert "trainer.threads=null" in caplog.text
    assert caplog.text.rstrip().endswith("set trainer.threads=3")


@pytest.fixture
def ray_of_one(monkeypatch):
    """Ray with one machine of 8 CPUs; what tasks ask for is kept."""
    ray = pytest.importorskip("ray")
    asked = []
    task = SimpleNamespace(options=lambda **options: asked.append(options) or task)
    task.remote = lambda call: call
    node = {"Resources": {"CPU": 8.0}, "Alive": True}
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    monkeypatch.setattr(ray, "remote", lambda **_: lambda _function: task)
    return asked


def test_ray_is_told_what_each_trial_needs(ray_of_one, tmp_path):
    launcher = RayLauncher()
    launcher.config = HYDRA
    jobs = [job(tmp_path / str(threads), threads=threads) for threads in (1, 4)]
    with launcher.place(jobs) as place:
        attempts = place.start(jobs)
    assert [options["num_cpus"] for options in ray_of_one] == [1, 4]
    threads = [attempt.task.command.environment["OMP_NUM_THREADS"] for attempt in attempts]
    assert threads == ["1", "4"]


@pytest.mark.parametrize("address", [None, "auto"], ids=["own cluster", "another cluster"])
def test_a_resource_that_no_machine_has_is_said_at_once(ray_of_one, tmp_path, caplog, address):
    """Ray itself would leave the trials in its queue without a word."""
    launcher = RayLauncher(address=address, resources={"a100": 1})
    launcher.config = HYDRA
    text = "no machine of the Ray cluster has 1 CPUs, 0 GPUs, 1 a100 for a trial"
    refused = pytest.raises(ConfigError, match=f"^{text}; set .* and \\.resources to what this")
    with refused if address is None else nullcontext(), launcher.place([job(tmp_path / "0")]):
        pass
    assert (f"{text} now; trials wait until one joins" in caplog.text) is (address is not None)


def test_sqlite_on_several_machines_is_warned_about(config, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    warn_of_sqlite(config("tracking.uri=http://mlflow:5000").tracking, home=tmp_path)
    warn_of_sqlite(config("tracking=none").tracking, home=tmp_path)
    assert caplog.records == []
    warn_of_sqlite(config().tracking, home=tmp_path)
    assert f"one sqlite file, {tmp_path}/multirun/mlflow.db" in caplog.text


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """A call that runs a script in place of the program, in a trial's folder."""

    def make(script, **options):
        folder = tmp_path / "0"
        prepare(job(folder))
        path = tmp_path / "script.py"
        path.write_text(script)
        real = processes.subprocess.Popen
        monkeypatch.setattr(
            processes.subprocess,
            "Popen",
            lambda _command, **kwargs: real([sys.executable, str(path)], **kwargs),
        )
        return RemoteTrial(Command((), str(folder), str(tmp_path), {}), **{"gpus": 0, **options})

    return make


def output(tmp_path):
    return (tmp_path / "0" / "output.log").read_text()


def test_a_worker_tells_exit_code_and_status_of_the_record(trial, tmp_path):
    write_record(Record("x", "failed", {}), tmp_path)
    script = "import os, shutil; shutil.copy('record.json', '0'); raise SystemExit(3)"
    assert trial(script)() == Ending(3, "failed")
    assert read_progress(tmp_path / "0" / PROGRESS_FILE).stage == "starting"


def test_a_trial_that_is_killed_costs_no_worker(trial):
    assert trial("import os; os.kill(os.getpid(), 9)")() == Ending(-9, None)


@pytest.mark.parametrize(
    ("gpus", "seen"), [(0, ""), (0.5, "3")], ids=["hidden", "those of the worker"]
)
def test_a_trial_sees_no_gpu_unless_it_was_given_one(trial, tmp_path, monkeypatch, gpus, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    trial("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=gpus)()
    assert output(tmp_path).strip() == seen


def test_a_folder_that_another_machine_lacks_is_named(tmp_path):
    command = Command((), str(tmp_path / "0"), str(tmp_path), {})
    ending = RemoteTrial(command, gpus=0)()
    assert ending.code is None
    assert f"has no folder {tmp_path / '0'}: all machines need" in ending.problem


@pytest.mark.parametrize("status", ["finished", "pruned"])
def test_a_trial_that_an_earlier_attempt_has_ended_does_not_run_again(trial, tmp_path, status):
    write_plan(SweepPlan((), (Point(0, (), "f"),)), tmp_path)
    record = Record("x", status, {}, fingerprints={CONFIG_FINGERPRINT: "f"})
    call = trial("raise SystemExit(3)")
    write_record(record, tmp_path / "0")
    assert call() == Ending(0, status)
    write_record(Record("x", "finished", {}, fingerprints={}), tmp_path / "0")
    assert call().code == 3
    assert load_record(tmp_path / "0").status == "running"


def test_a_trial_that_another_host_runs_is_waited_for(trial, tmp_path, monkeypatch):
    """A lock of the kernel would be local to each host where the file system says so."""
    monkeypatch.setattr("qatexp.store.lock.TELL_SECONDS", 0)
    write_plan(SweepPlan((), (Point(0, (), "f"),)), tmp_path)
    call = trial("raise SystemExit(3)")
    held = tmp_path / "0" / LOCK_FILE
    elsewhere = Process(("node7", "another boot", "1"), 4242, 17.0).to_json()
    held.write_text(json.dumps({"process": elsewhere, "since": 1.8e9, "token": "theirs"}))

    def finish():
        while "which is run by process 4242 on host node7" not in output(tmp_path):
            time.sleep(0.01)
        record = Record("x", "finished", {}, fingerprints={CONFIG_FINGERPRINT: "f"})
        write_record(record, tmp_path / "0")
        held.unlink()

    (tmp_path / "0" / OUTPUT_FILE).touch()
    threading.Timer(0, finish).start()
    assert call() == Ending(0, "finished")


WAITS = """
import signal, sys, time
def end(number, frame):
    print("ended in order")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print(signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, []), flush=True)
time.sleep(60)
"""


def test_a_worker_that_is_interrupted_lets_its_trial_end_in_order(trial, tmp_path):
    """And the signal that has submitit queue the job again does not end the trial first."""

    def interrupt():
        while "True" not in output(tmp_path):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    call = trial(WAITS)
    (tmp_path / "0" / "output.log").touch()
    threading.Timer(0, interrupt).start()
    with pytest.raises(SystemExit):
        call()
    assert output(tmp_path).split("\n")[:2] == ["True", "ended in order"]


def test_a_job_that_is_queued_again_runs_the_same_trial(trial):
    call = trial("")
    assert call.checkpoint().function == call


def test_what_a_worker_lacks_goes_with_the_trial(tmp_path, monkeypatch):
    monkeypatch.setenv(PARENT_RUN, "abc")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow")
    one = job(tmp_path / "0", threads=1)
    handed_on = remote_command(one, HYDRA, neighbours=2, handed_on=("MLFLOW_",)).environment
    assert handed_on[PARENT_RUN] == "abc"
    assert handed_on["MLFLOW_TRACKING_URI"] == "http://mlflow"
    assert handed_on["OMP_NUM_THREADS"] == "1"
    assert "PATH" not in handed_on
    # submitit writes it to a file; its jobs inherit the variables, passwords among them.
    assert "MLFLOW_TRACKING_URI" not in remote_command(one, HYDRA, neighbours=2).environment


@dataclass
class Attempt:
    """A trial that ends as it is told, or not at all."""

    job: Job
    ending: Ending | None
    asked: list = field(default_factory=list)

    def ended(self):
        return self.ending

    def stop(self):
        self.asked.append("stop")

    def kill(self):
        self.asked.append("kill")


class Place:
    """Takes all trials at once."""

    look_seconds = 0

    def __init__(self, endings):
        self.endings, self.attempts = endings, []

    def start(self, waiting):
        for job in waiting:
            prepare(job)
        self.attempts += [Attempt(job, self.endings[job.folder.name]) for job in waiting]
        return self.attempts


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.setattr("qatexp.sweep.launcher.PATIENCE_SECONDS", 0)
    found = TrialLauncher.__new__(type("Queueing", (TrialLauncher,), {"place": None}))
    found.queues = True
    return found


def test_a_lost_trial_is_one_failed_trial_and_the_others_count(launcher, tmp_path):
    jobs = [job(tmp_path / str(n)) for n in range(2)]
    write = {"0": Ending(None, problem="its worker died"), "1": Ending(0, "finished")}
    (tmp_path / "1").mkdir()
    write_record(Record("x", "finished", {}), tmp_path / "1")
    launcher._run(Place(write), jobs)
    assert load_record(tmp_path / "0").error["message"] == "its worker died"
    assert load_record(tmp_path / "1").status == "finished"


def test_a_trial_that_stood_in_a_queue_when_the_sweep_was_cut_off_leaves_no_record(
    launcher, tmp_path
):
    place = Place({"0": None})

    def interrupt(*_):
        raise KeyboardInterrupt

    place.look_seconds = None  # time.sleep(None) is not reached
    place.start = lambda waiting, start=place.start: start(waiting) and interrupt()
    with pytest.raises(KeyboardInterrupt):
        launcher._run(place, [job(tmp_path / "0")])
    assert list((tmp_path / "0").iterdir()) == []


def test_a_ray_worker_that_is_killed_is_told_in_one_line(monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.exceptions import WorkerCrashedError

    def get(_task):
        raise WorkerCrashedError

    monkeypatch.setattr(ray, "wait", lambda tasks, timeout: (tasks, []))
    monkeypatch.setattr(ray, "get", get)
    ending = RayAttempt(job(None), "task").ended()
    assert ending.code is None
    assert ending.problem.startswith("its Ray worker did not come to an end: WorkerCrashedError: ")
    assert "\n" not in ending.problem


SBATCH = """#!/bin/sh
cp "$1" "$(dirname "$0")/submitted.sh"
cat "$1" >> "$(dirname "$0")/all.sh"
echo "Submitted batch job 77"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm that keep what is submitted."""
    for name in ("sbatch", "srun"):
        path = tmp_path / name
        path.write_text(SBATCH)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_trials_with_other_resources_are_an_array_of_their_own(slurm, tmp_path):
    launcher = SubmititLauncher(cluster="slurm")
    launcher.config = HYDRA
    jobs = [job(tmp_path / str(n), threads=threads) for n, threads in enumerate((1, 4, 1))]
    with launcher.place(jobs) as place:
        attempts = place.start(jobs)
    assert {attempt.job for attempt in attempts} == set(jobs)
    lines = (tmp_path / "all.sh").read_text().splitlines()
    assert lines.count("#SBATCH --cpus-per-task=1") == lines.count("#SBATCH --cpus-per-task=4") == 1
    assert lines.count("#SBATCH --array=0-1%2") == 1


def test_slurm_gets_an_array_of_jobs_with_what_was_asked_for(slurm, tmp_path):
    launcher = SubmititLauncher(
        cluster="slurm",
        array_parallelism=4,
        timeout_min=90,
        partition="gpu",
        account=None,
        setup=["module load cuda"],
        additional_parameters={"mail-type": "END"},
    )
    executor = launcher._executor(Resources(2, 1, 8), tmp_path / ".submitit" / "%j")
    calls = [RemoteTrial(Command((), str(n), "", {}), gpus=1) for n in range(2)]
    jobs = executor.submit_array(calls)
    assert [job.job_id for job in jobs] == ["77_0", "77_1"]
    lines = (tmp_path / "submitted.sh").read_text().splitlines()
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert options >= {
        "array=0-1%2", "time=90", "partition=gpu", "cpus-per-task=2", "gpus-per-node=1",
        "mem=8GB", "mail-type=END", "job-name=qatexp",
    }  # fmt: skip
    assert not any(option.startswith("account") for option in options)
    assert "module load cuda" in lines
    assert any(line.startswith("srun ") and "--cpus-per-task=2" in line for line in lines)
