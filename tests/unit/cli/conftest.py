import pytest
from hydra._internal.utils import get_args_parser

from qatexp.cli.compose import checked_request


@pytest.fixture
def request_of(points):
    """Check the command line of a sweep as the application does."""

    def check(*arguments):
        return checked_request(get_args_parser().parse_args(["-m", *arguments]))

    return check
