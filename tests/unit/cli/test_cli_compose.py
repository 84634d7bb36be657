"""A command line that goes on with a sweep."""

import pytest

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
