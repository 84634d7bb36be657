"""The local launcher: who runs where, under which folder, and what becomes of killed trials."""

import io
import json
import os
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from qatexp.config.schema import DatasetConfig, ExperimentConfig, ModelConfig
from qatexp.config.variables import NEIGHBOURS, PROGRESS, TRIAL
from qatexp.errors import ConfigError, StoreError
from qatexp.pipeline import write_record
from qatexp.records import Record, load_record
from qatexp.store.progress import Progress, ProgressFile, read_progress
from qatexp.sweep import launcher as launchers
from qatexp.sweep import local, processes
from qatexp.sweep import slots as machine
from qatexp.sweep.endings import Ending, settled
from qatexp.sweep.local import LocalLauncher
from qatexp.sweep.overview import Row, table
from qatexp.sweep.processes import Job, command_of, jobs_of, prepare, start

CONFIG = ExperimentConfig("x", ModelConfig("a.b"), DatasetConfig("a.b"), device="cpu")


@pytest.fixture
def config(tmp_path):
    return OmegaConf.create(
        {
            "hydra": {
                "sweep": {"dir": str(tmp_path)},
                "job": {"config_name": "config"},
                "runtime": {"config_sources": [{"path": "mine", "provider": "command-line"}]},
            },
        }
    )


@pytest.mark.parametrize(
    ("wanted", "threads", "cores"),
    [
        pytest.param(None, 1, [(0,), (1,), (2,), (3,)], id="a core for each"),
        pytest.param(None, 2, [(0, 1), (2, 3)], id="two cores for each"),
        pytest.param(None, 8, [(0, 1, 2, 3, 0, 1, 2, 3)], id="more threads than cores"),
        pytest.param(3, 2, [(0, 1), (2, 3), (0, 1)], id="more slots than cores"),
        pytest.param(None, None, [None], id="threads are torch's choice"),
        pytest.param(2, None, [None, None], id="all share all cores"),
    ],
)
def test_each_slot_has_cores_of_its_own(monkeypatch, wanted, threads, cores):
    monkeypatch.setattr(machine, "_cores", lambda: [0, 1, 2, 3])
    found = machine.slots(wanted, device="cpu", threads=threads)
    assert [slot.cores for slot in found] == cores


@pytest.mark.parametrize(
    ("wanted", "gpus"),
    [(None, ["0", "5"]), (3, ["0", "5", "0"])],
    ids=["one each", "shared"],
)
def test_each_slot_has_a_gpu(monkeypatch, wanted, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,5")
    assert [s.gpu for s in machine.slots(wanted, device="cuda", threads=1)] == gpus


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["hydra.launcher.slots=0"], "hydra.launcher.slots=0 is not possible; allowed: null, or"),
        (["hydra.launcher.slots=two"], "hydra.launcher.slots=two is not possible"),
        (["hydra.launcher.slots=1.5"], "hydra.launcher.slots=1.5 is not possible"),
        (["hydra.launcher.slots=true"], "hydra.launcher.slots=True is not possible"),
        (["device=cpu,cuda:1"], "device=cuda:1 is not possible with hydra/launcher=local"),
    ],
    ids=["no slot", "no number", "half a slot", "a truth", "a GPU by number"],
)
def test_what_a_machine_cannot_give_is_refused_before_anything_is_started(points, overrides, text):
    with pytest.raises(ConfigError, match=f"^{text}"):
        points("-m", "hydra/launcher=local", "seed=0,1", *overrides)


def job(folder, *overrides, threads=1):
    return Job(overrides, folder, replace(CONFIG, trainer=replace(CONFIG.trainer, threads=threads)))


def test_jobs_go_to_the_folders_that_their_overrides_name(config, tmp_path):
    batch = [["seed=0", "hydra.sweep.subdir='7'"], ["seed=1"]]
    found = jobs_of(config, batch, 3, compose=lambda own: replace(CONFIG, name=own[0]))
    assert found == [job(tmp_path / "7", "seed=0"), job(tmp_path / "4", "seed=1")]
    assert [item.config.name for item in found] == ["seed=0", "seed=1"]


def test_trials_of_one_kind_share_the_machine_at_a_time(config, tmp_path, monkeypatch, caplog):
    """Points may differ in their threads; the sweep itself has no such key."""
    caplog.set_level("INFO")
    monkeypatch.setattr(machine, "_cores", lambda: [0, 1, 2, 3])
    started, ended = [], set()

    class Running(SimpleNamespace):
        def ended(self):
            return 0 if self.job in ended else None

    def start_one(_self, one, slot):
        started.append((one.folder.name, slot.cores))
        return Running(job=one, slot=slot)

    monkeypatch.setattr(local.Machine, "_start", start_one)
    launcher = LocalLauncher()
    launcher.config = config
    jobs = [job(tmp_path / str(n), threads=threads) for n, threads in enumerate((1, 4, 1))]
    with launcher.place(jobs) as place:
        first = place.start(jobs)
        assert started == [("0", (0,)), ("2", (1,))]
        ended.add(first[0].job)
        assert place.start(jobs[1:2]) == []
        ended.add(first[1].job)
        place.start(jobs[1:2])
        assert place.start([]) == []
    assert started[2:] == [("1", (0, 1, 2, 3))]
    assert "3 trials, 2 or 1 at a time" in caplog.text


SHOW = """
import json, os, sys
keys = ["QATEXP_TRIAL", "QATEXP_NEIGHBOURS", "QATEXP_PROGRESS", "OMP_NUM_THREADS"]
print(json.dumps([sys.argv[1:], {key: os.environ[key] for key in keys}]))
"""


def test_a_trial_is_the_command_of_a_single_run_in_its_folder(config, tmp_path, monkeypatch):
    script = tmp_path / "show.py"
    script.write_text(SHOW)
    real = processes.subprocess.Popen
    monkeypatch.setattr(
        processes.subprocess,
        "Popen",
        lambda command, **options: real([sys.executable, str(script), *command[1:]], **options),
    )
    folder = tmp_path / "it's"
    one = job(folder, "seed=1")
    prepare(one)
    assert start(command_of(one, config, neighbours=1)).wait() == 0
    arguments, environment = json.loads((folder / "output.log").read_text())
    assert arguments == [
        "-m",
        "qatexp",
        "--config-dir",
        "mine",
        "--config-name",
        "config",
        "seed=1",
        f"hydra.run.dir='{tmp_path}/it\\'s'",
    ]
    assert environment == {
        TRIAL: str(os.getpid()),
        NEIGHBOURS: "1",
        PROGRESS: str(folder / "progress.json"),
        "OMP_NUM_THREADS": "1",
    }


def unwritten():
    return Record("x", "running", {"seed": 0})


@pytest.mark.parametrize(
    ("ending", "kind", "text"),
    [
        (Ending(-9), "killed", "its process was killed by signal 9; see output.log"),
        (Ending(3), "exit", "its process ended with exit code 3; see output.log"),
        (Ending(None), "lost", "its process was lost"),
        (Ending(None, problem="its worker died"), "lost", "its worker died"),
    ],
    ids=["killed", "exit", "lost", "lost for a reason"],
)
def test_a_trial_that_could_not_write_its_end_is_a_failed_one(tmp_path, ending, kind, text):
    write_record(Record("x", "running", {}), tmp_path)
    settled(tmp_path, ending, unwritten)
    record = load_record(tmp_path)
    assert record.status == "failed"
    assert record.error == {"stage": "process", "kind": kind, "message": text}


def test_a_finished_record_stays_as_it_is(tmp_path):
    write_record(Record("x", "finished", {}), tmp_path)
    settled(tmp_path, Ending(-9), unwritten)
    assert load_record(tmp_path).status == "finished"


def test_a_trial_that_left_nothing_has_a_record_with_its_parameters(tmp_path):
    settled(tmp_path, Ending(1), unwritten)
    record = load_record(tmp_path)
    assert (record.status, record.params) == ("failed", {"seed": 0})


def test_a_trial_that_did_not_start_does_not_keep_an_earlier_end(tmp_path):
    write_record(Record("x", "interrupted", {}), tmp_path)
    settled(tmp_path, Ending(None, problem="no room", started=False), unwritten)
    assert load_record(tmp_path).error["message"] == "no room"


def test_a_record_that_is_not_seen_here_yet_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr("qatexp.sweep.endings.PATIENCE_SECONDS", 0)
    monkeypatch.setattr("qatexp.sweep.endings.LOOK_SECONDS", 0)
    write_record(Record("x", "running", {}), tmp_path)
    with pytest.raises(StoreError, match="is finished on the machine that wrote it, which cannot"):
        settled(tmp_path, Ending(0, "finished"), unwritten)
    assert load_record(tmp_path).status == "running"


def test_only_settings_that_differ_are_shown(tmp_path):
    jobs = [job(tmp_path / str(n), "trainer.threads=1", f"seed={n}") for n in range(2)]
    assert launchers._settings(jobs) == ["seed=0", "seed=1"]
    assert launchers._settings(jobs[:1]) == ["trainer.threads=1 seed=0"]


def test_progress_is_read_as_it_was_told_last(tmp_path):
    path = tmp_path / "progress.json"
    assert read_progress(path) is None
    file = ProgressFile(path)
    file.tell(Progress("qat", 1.0))
    file.tell(Progress("qat", 1.0, step=1, steps=4))  # too soon to be worth a write
    assert read_progress(path) == Progress("qat", 1.0)
    file.tell(Progress("export", 2.0))
    assert read_progress(path) == Progress("export", 2.0)


def test_progress_that_cannot_be_written_costs_nothing(tmp_path):
    ProgressFile(tmp_path / "missing" / "progress.json").tell(Progress("qat", 1.0))


def test_every_running_trial_has_a_line_with_its_remaining_time():
    now = time.time()
    rows = [
        Row("0", "seed=0", Progress("qat", now - 30, step=10, steps=40, loss=0.5)),
        Row("1", "seed=1", None),
        Row("2", "seed=2", Progress("export_qat", now)),
    ]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table(rows, 3, now=now))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert lines == [
        "trial settings stage step loss left",
        "0 seed=0 qat 10/40 0.500 1:30",
        "1 seed=1 starting",
        "2 seed=2 export_qat",
        "3 waiting",
    ]
