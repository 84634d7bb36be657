"""Constraints are those of ``--where``, and say how far off a trial is."""

import pytest
from made_up_search import made_up

from qatexp.errors import ConfigError
from qatexp.sweep.search.limits import read_limits

SETTINGS = ["qconfig.bits", "qconfig.weight.bits", "schedule.qat.epochs", "qconfig.quantizer"]
PARAMS = {"qconfig.bits": 4, "schedule.qat.epochs": 2, "qconfig.quantizer": "lsq"}
RECORD = made_up(80.0, 400, params=PARAMS)


@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("size_bytes <= 400", 0.0),
        ("size_bytes <= 300", 0.25),
        ("deployed_top1 >= 100", 0.2),
        ("deployed_top1 >= 100 and size_bytes <= 300", 0.45),
        ("deployed_top1 >= 100 or size_bytes <= 300", 0.2),
        ("100 <= size_bytes <= 300", 0.25),
        ("bits == 8", 1.0),
        ("not bits < 8", 1.0),
        ("quantizer in ['pact']", 1.0),
        ("bits <= 8 and qat.epochs < 3", 0.0),
        ("val_top1 > 3", 1.0),
    ],
)
def test_how_far_a_trial_is_off(text, off):
    assert read_limits([text], SETTINGS).violations(RECORD) == {text: pytest.approx(off)}


def test_at_a_strict_limit_something_is_missing():
    (off,) = read_limits(["size_bytes < 400"], SETTINGS).violations(RECORD).values()
    assert 0 < off < 1e-6


def test_names_are_told_in_full():
    limits = read_limits(["bits < 8 and not qat/size_bytes > 3"], SETTINGS)
    assert limits.names() == {"qconfig.bits", "qat/size_bytes"}


@pytest.mark.parametrize("text", ["sise_bytes < 3", "size_bytes <"])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(ConfigError, match=r"hydra.sweeper.constraints: in 'si"):
        read_limits([text], SETTINGS)
