"""QAT that was cut off and continues: its recipe's state is more than the model's tensors."""

import json
import logging

import pytest
from qat_case import CPU, Cut, CutData, calibrated, qat_config

from qatexp.config.schema import ProgressiveConfig, Select
from qatexp.quantization.graph_ops import copied
from qatexp.stages.context import HISTORY, OSCILLATION, WEIGHTS, Context
from qatexp.stages.train import train_stage
from qatexp.store.stage_cache import StageCache

EPOCHS = 6
RECIPES = {
    "lsq": {
        "select": Select.last,
        "progressive": ProgressiveConfig(bits=[8, 4], share=0.6),
        "freeze_bn_at": 0.7,
        "freeze_observers_at": 0.4,
        "reestimate_bn": 2,
    },
    "minmax_ema": {"select": Select.best, "freeze_bn_at": 0.5, "freeze_observers_at": 0.4},
    "pact": {"select": Select.best, "freeze_bn_at": 0.9, "momentum": None},
}
"""By quantizer: what each of them steers, with a cut before and after each change."""


@pytest.fixture(scope="module", params=list(RECIPES))
def prepared(request):
    """A calibrated graph with its configuration and data, for each recipe."""
    config = qat_config(request.param, epochs=EPOCHS, **RECIPES[request.param])
    return config, *calibrated(config)


@pytest.fixture
def train(prepared, tmp_path):
    """Make the stage qat of a cache; `cut` ends it within the epoch after that one."""
    config, data, graph_module = prepared

    def run(*, cache, cut=None):
        told = []
        store = StageCache(tmp_path / cache)
        context = Context(config, tmp_path, store, lambda name, row: told.append((name, row)))
        context.data, context.device = CutData(data, cut), CPU
        model = copied(graph_module)

        def make(folder):
            train_stage(context, "qat", model, folder, parts={})

        with context.stage("qat", cacheable=True):
            context.told, context.made = told, context.entry("qat", {}, make)
        return context

    return run


@pytest.mark.parametrize("cut", range(1, EPOCHS))
def test_qat_that_was_cut_off_continues_bit_for_bit(train, tmp_path, caplog, cut):
    caplog.set_level(logging.INFO)
    undisturbed = train(cache="undisturbed")
    assert undisturbed.data.steps_per_epoch() == 5  # odd: codes are compared across epochs
    with pytest.raises(Cut):
        train(cache="cut", cut=cut)
    (left,) = (path for path in (tmp_path / "cut" / "qat").iterdir() if path.is_dir())
    assert left.suffix == ".partial"
    continued = train(cache="cut")
    assert f"qat continues after epoch {cut} of {EPOCHS}" in caplog.messages
    for name in (WEIGHTS, HISTORY, OSCILLATION):
        assert (continued.made / name).read_bytes() == (undisturbed.made / name).read_bytes(), name
    assert any(json.loads((continued.made / OSCILLATION).read_text()).values())
    assert continued.told == undisturbed.told
    assert (undisturbed.resumed, continued.resumed) == ({}, {"qat": cut})
    assert not left.exists()


def test_a_stage_from_the_cache_was_not_continued(train):
    with pytest.raises(Cut):
        train(cache="cut", cut=2)
    assert train(cache="cut").resumed == {"qat": 2}
    again = train(cache="cut")
    assert (again.cached["qat"], again.resumed) == (True, {})
