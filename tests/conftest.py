import os
from collections.abc import Callable

# Before torch is imported: workers share the cores, and threads that wait for one another on
# them are many times slower than none.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hydra._internal.utils import get_args_parser

from qatexp.cli.compose import checked_request
from qatexp.cli.resolvers import register_resolvers
from qatexp.config.members import register_models
from qatexp.config.schema import ExperimentConfig


@pytest.fixture
def points() -> Callable[..., list[ExperimentConfig]]:
    """Compose and check a command line as the application does: every experiment it asks for."""
    register_resolvers()
    register_models()

    def compose(*arguments: str) -> list[ExperimentConfig]:
        return checked_request(get_args_parser().parse_args(list(arguments))).points

    return compose
