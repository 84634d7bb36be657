"""A command line that goes on with a sweep."""

import pytest
from hydra._internal.utils import get_args_parser

from qatexp.cli.compose import checked_request
from qatexp.errors import ConfigError
from qatexp.sweep.planning import write_plan


@pytest.fixture
def earlier(request_of, tmp_path):
    """The folder of a sweep that was started with a folder of its own choice."""
    folder = tmp_path / "a"
    folder.mkdir()
    write_plan(request_of("seed=0,1", f"hydra.sweep.dir={folder}").plan, folder)
    return folder


@pytest.mark.parametrize("given", [(), ("seed=0,1",)], ids=["the folder alone", "the command"])
def test_a_sweep_goes_on_in_its_own_folder_and_in_no_other(request_of, earlier, given):
    request = request_of(*given, f"sweep.resume={earlier}")
    assert (request.folder, request.overrides[-1]) == (earlier, f"hydra.sweep.dir='{earlier}'")
    with pytest.raises(ConfigError) as problem:
        request_of(*given, f"sweep.resume={earlier}", "hydra.sweep.dir=b")
    assert str(problem.value) == (
        f"sweep.resume={earlier} goes on in that folder, and hydra.sweep.dir=b names one too; "
        "allowed: one of them. Leave hydra.sweep.dir out, or set sweep.resume=auto."
    )


def test_what_is_said_of_the_sweep_itself_reaches_the_trials_that_are_left(request_of, earlier):
    for most in (3, 2):  # the later word counts, and stands there once
        request = request_of(f"sweep.resume={earlier}", f"sweep.max_failures={most}")
        assert {config.sweep.max_failures for config in request.points} == {most}
        own = [o for o in request.plan.points[1].overrides if not o.startswith("hydra.")]
        assert own == ["seed=1", f"sweep.max_failures={most}"]
        write_plan(request.plan, earlier)


@pytest.mark.parametrize("key", ["sweep.exclude=['seed==1']", "sweep.points=none.yaml"])
def test_a_sweep_that_goes_on_has_its_points(request_of, earlier, key):
    with pytest.raises(ConfigError, match=r"^sweep\.\w+ chooses the points of a sweep, and"):
        request_of(f"sweep.resume={earlier}", key)


def test_a_single_run_goes_on_with_no_sweep(earlier, points, monkeypatch):
    with pytest.raises(ConfigError, match=r"goes on with a sweep; add --multirun \(-m\)\.$"):
        checked_request(get_args_parser().parse_args([f"sweep.resume={earlier}"]))


@pytest.mark.parametrize(
    ("override", "text"),
    [
        pytest.param(
            "qconfig.bits=interval(2,4)",
            "qconfig.bits=interval(2,4): an interval has no values to go through one by one; list "
            "them, as in KEY=2,4,8, or add hydra/sweeper=optuna, which searches.",
            id="interval",
        ),
        pytest.param(
            "qconfig.bits=range(2,2)",
            "qconfig.bits=range(2,2) gives no value; list at least one.",
            id="empty range",
        ),
    ],
)
def test_values_that_are_no_list_are_refused_in_words(request_of, override, text):
    with pytest.raises(ConfigError) as problem:
        request_of(override)
    assert str(problem.value) == text


def test_a_file_does_not_vouch_for_the_code_that_it_names(request_of, tmp_path):
    """Opening a shared YAML file must not run what stands in it."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "nice.yaml").write_text(
        "# @package _global_\ntrusted_packages: [json]\nmodel: {_target_: json.loads}\n"
    )
    command = ["--config-dir", str(tmp_path), "+experiment=nice"]
    if "experiment" in str(request_of("seed=0").points[0]):  # the group has a default
        command[-1] = "experiment=nice"
    with pytest.raises(ConfigError) as problem:
        request_of(*command)
    assert str(problem.value) == (
        "trusted_packages=[json] stands in a configuration file, which must not vouch for the code "
        "that it runs; if you trust it, give the key on the command line."
    )
    request_of(*command, "trusted_packages=[json]")
