import os
import signal
import subprocess
import sys

import pytest

from qatexp import __version__
from qatexp.cli.application import _with_overrides, run_application
from qatexp.config.sources import CONF
from qatexp.sweep import session
from qatexp.sweep.session import SweepSession


@pytest.fixture
def said(capsys, monkeypatch, tmp_path):
    """Run the application in an empty folder: exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments):
        code = run_application(list(arguments))
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            ["qconfig.bits=9"], "qconfig.bits=9 is not possible; allowed: 2 to 8.", id="range"
        ),
        pytest.param(
            ["-m", "qconfig.bits=8,9"],
            "qconfig.bits=9 is not possible; allowed: 2 to 8.",
            id="a point of a sweep",
        ),
        pytest.param(
            ["--run", "--multirun"],
            "--run and --multirun exclude each other; give one of them.",
            id="both modes",
        ),
        pytest.param(
            ["-m", "--cfg", "job"],
            "--multirun and --cfg exclude each other; give one of them.",
            id="a sweep and its configuration",
        ),
        pytest.param(
            ["model=mobilnet_v2"],
            "model=mobilnet_v2 is not possible; did you mean mobilenet_v2?",
            id="a member misspelt",
        ),
        pytest.param(
            ["--multirunn", "seed=0,1"],
            "--multirunn: there is no such option; did you mean --multirun?",
            id="an option misspelt",
        ),
        pytest.param(
            ["--config-name"],
            "argument --config-name/-cn: expected one argument; qatexp --hydra-help lists the "
            "options.",
            id="an option without its value",
        ),
        pytest.param(
            ["analyse", "seed=1"],
            "'analyse' is neither an override (KEY=VALUE) nor a command; did you mean analyze?",
            id="a verb misspelt",
        ),
        pytest.param(
            ["debug=true", "seed=-1"], "seed=-1 is not possible; allowed: at least 0.", id="debug"
        ),
    ],
)
def test_a_wrong_request_is_exit_code_2_one_line_and_nothing_written(
    said, tmp_path, arguments, text
):
    assert said(*arguments) == (2, "", f"qatexp: {text}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        pytest.param(["-m", "a=1"], ["a=1"], ["-m", "x", "a=1"], id="usual"),
        pytest.param(["a=1", "-m"], ["a=1"], ["x", "a=1", "-m"], id="option last"),
        pytest.param(
            ["-m", "a=1", "--config-dir", "d"],
            ["a=1"],
            ["-m", "x", "a=1", "--config-dir", "d"],
            id="another option last",
        ),
        pytest.param(["-m"], [], ["-m", "x"], id="no overrides"),
    ],
)
def test_further_overrides_stand_in_one_block_with_the_given_ones(arguments, given, expected):
    assert _with_overrides(arguments, given, ["x"]) == expected


def test_another_sweeper_refuses_what_it_would_ignore(said, tmp_path):
    code, _, error = said("-m", "hydra/sweeper=basic", "seed=0,1", "sweep.exclude=['seed==1']")
    assert code == 2
    assert error.startswith("qatexp: sweep.exclude is not possible with hydra/sweeper=hydra.")
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_server_that_is_not_there_is_noticed_first(said, tmp_path):
    code, out, error = said("tracking.uri=http://127.0.0.1:9")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "tracking.uri=http://127.0.0.1:9" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            ["hydra.run.dir=/proc/x"],
            "hydra.run.dir=/proc/x cannot be created: /proc: No such file or directory; "
            "change to another folder, or set hydra.run.dir.",
            id="run",
        ),
        pytest.param(
            ["-m", "seed=0,1", "hydra.sweep.dir=file/x"],
            "hydra.sweep.dir=file/x cannot be created: {home}/file: Not a directory; "
            "change to another folder, or set hydra.sweep.dir.",
            id="sweep",
        ),
    ],
)
def test_an_output_folder_that_cannot_be_created_is_noticed_first(said, tmp_path, arguments, text):
    (tmp_path / "file").touch()
    assert said(*arguments) == (2, "", f"qatexp: {text.format(home=tmp_path)}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_gpu_that_is_not_there_is_noticed_first(said, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert said("-m", "device=cpu,cuda") == (
        2,
        "",
        "qatexp: device=cuda: 0 GPUs are visible; use device=cpu, device=auto or another number.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_sigterm_ends_between_two_trials_is_closed(
    said, points, tmp_path, monkeypatch
):
    abandoned = []
    (config,) = points()

    class Session(SweepSession):
        def abandon(self):
            abandoned.append(self.folder)
            super().abandon()

    def hydra_main(**_):
        def application():
            session._open.append(Session(config, tmp_path, None, None))
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on after SIGTERM")

        return lambda _task: application

    monkeypatch.setattr("hydra.main", hydra_main)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        said("-m", "seed=0,1", "tracking=none")
    assert ended.value.code == 143
    assert abandoned == [tmp_path]
    assert session._open == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_program_answers_a_wrong_key_without_torch(tmp_path):
    code = """
import sys
sys.argv = ["qatexp", "qconfig.bits=9"]
from qatexp.cli import main
try:
    main()
except SystemExit as end:
    slow = sorted({"torch", "mlflow", "matplotlib"} & set(sys.modules))
    print(end.code, slow)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CONF.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "2 []\n"
    assert done.stderr == "qatexp: qconfig.bits=9 is not possible; allowed: 2 to 8.\n"


def test_the_version_is_that_of_this_program(said):
    assert said("--version") == (0, f"qatexp {__version__}\n", "")


@pytest.mark.parametrize("chosen", [[], ["resnet18"]], ids=["default", "torchvision"])
def test_help_needs_neither_torch_nor_a_copy_of_every_model(tmp_path, chosen):
    """Hydra's help copies every registered member a hundred times: eighty cost two seconds."""
    code = """
import atexit, sys
from qatexp.cli import main

@atexit.register
def tell():
    from hydra.core.config_store import ConfigStore
    store = ConfigStore.instance()
    members = store.list("model") if "model" in store.repo else []
    print(members, sorted({"torch", "mlflow", "matplotlib"} & set(sys.modules)), file=sys.stderr)

main()
"""
    overrides = [f"model={name}" for name in chosen]
    done = subprocess.run(
        [sys.executable, "-c", code, *overrides, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CONF.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == f"{[f'{name}.yaml' for name in chosen]} []\n"
    for word in ("resnet8", "cifar10_resnet20", "qatexp compare", "qatexp -m qconfig.bits"):
        assert word in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_noticed_first(said, tmp_path):
    (tmp_path / "afile").touch()
    code, _, error = said("cache.dir=afile/below")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("qatexp: cache.dir=afile/below cannot be created: ")
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]
