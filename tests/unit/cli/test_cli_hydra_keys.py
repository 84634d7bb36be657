"""Wrong keys of launchers and sweepers, and the members that have them."""

from __future__ import annotations

import pytest
from hydra._internal.utils import get_args_parser

from qatexp.cli.compose import checked_request
from qatexp.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(
            ["hydra.launcher.slots=2"],
            "hydra.launcher.slots is not a key of hydra/launcher=basic, but of "
            "hydra/launcher=local; choose that, or leave the key out.",
            id="of a launcher that was not chosen",
        ),
        pytest.param(
            ["hydra/launcher=local", "hydra.launcher.slot=2"],
            "hydra.launcher.slot is not a key of hydra/launcher=local; allowed: slots; did you "
            "mean slots?",
            id="misspelt",
        ),
        pytest.param(
            ["hydra.sweeper.ntrials=3"],
            "hydra.sweeper.ntrials is not a key of hydra/sweeper=qatexp_grid; allowed: params; did "
            "you mean n_trials of hydra/sweeper=optuna?",
            id="misspelt, and of a sweeper that was not chosen",
        ),
        pytest.param(
            ["hydra/launcher=local", "hydra.launcher.cpus=2"],
            "hydra.launcher.cpus is not a key of hydra/launcher=local, but of hydra/launcher=ray "
            "or hydra/launcher=submitit_local or hydra/launcher=submitit_slurm; choose that, or "
            "leave the key out.",
            id="of several launchers",
        ),
        pytest.param(
            ["hydra.swep.dir=a"],
            "hydra.swep.dir is not a key of the configuration; allowed in hydra: run, sweep, job, "
            "callbacks, launcher, sweeper, help, hydra_help, hydra_logging, job_logging, env, "
            "mode, searchpath, output_subdir, overrides, runtime, verbose; did you mean sweep?",
            id="a branch of Hydra",
        ),
    ],
)
def test_a_wrong_key_is_answered_with_those_of_its_place(points, arguments, text):
    del points  # it registers resolvers and models
    with pytest.raises(ConfigError) as problem:
        checked_request(get_args_parser().parse_args(["-m", *arguments]))
    assert str(problem.value) == text
