"""What was weakened is told at once and kept for the record."""

import pytest

from qatexp.config.schema import (
    DatasetConfig,
    ExperimentConfig,
    Fp32Schedule,
    ModelConfig,
    QatSchedule,
    ScheduleConfig,
)
from qatexp.records import Parity, Variant
from qatexp.stages.context import Context
from qatexp.stages.evaluate import Evaluation
from qatexp.stages.fp32 import _warn_of_untrained
from qatexp.stages.measure import _warn_of_loss, _warn_of_one_class
from qatexp.store.stage_cache import StageCache

UNTRAINED = (
    "the FP32 network is untrained: schedule.fp32.epochs=0, and neither model.checkpoint nor "
    "model.pretrained gives it weights"
)


@pytest.fixture
def make_context(tmp_path):
    def make(*, epochs=0, **model):
        schedule = ScheduleConfig(fp32=Fp32Schedule(epochs=epochs), qat=QatSchedule(lr_scale=100.0))
        parts = (ModelConfig("a.b", **model), DatasetConfig("a.b"))
        config = ExperimentConfig("x", *parts, schedule=schedule)
        return Context(config, tmp_path, StageCache(None), lambda *_: None)

    return make


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        pytest.param({}, [UNTRAINED], id="nothing"),
        pytest.param({"epochs": 1}, [], id="trained-here"),
        pytest.param({"checkpoint": "mine.pth"}, [], id="checkpoint"),
        pytest.param({"pretrained": True}, [], id="pretrained"),
    ],
)
def test_a_baseline_without_weights_of_any_origin_is_named(make_context, settings, warnings):
    context = make_context(**settings)
    _warn_of_untrained(context)
    assert context.warnings == warnings


def variant(top1):
    return Variant(top1, top1, 0.5, 1, 1, 1, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("accuracies", "warnings"),
    [
        pytest.param(
            {"ptq": 90.0, "qat": 42.5},
            [
                "qat has made the model worse: 42.50 % deployed, 47.50 points below ptq; "
                "lower schedule.qat.lr_scale=100"
            ],
            id="far-below",
        ),
        pytest.param({"ptq": 90.0, "qat": 89.0}, [], id="a-point-below"),
        pytest.param({"ptq": 90.0}, [], id="no-qat"),
    ],
)
def test_qat_that_ends_below_ptq_is_named(make_context, accuracies, warnings):
    context = make_context()
    _warn_of_loss(context, {name: variant(top1) for name, top1 in accuracies.items()})
    assert context.warnings == warnings


@pytest.mark.parametrize(("classes", "count"), [(1, 1), (2, 0)], ids=["one", "two"])
def test_agreement_on_a_single_class_is_named_as_worthless(make_context, classes, count):
    """60 steps of a MobileNetV3 leave its running statistics where all images are alike."""
    context = make_context()
    parity = Parity(1.0, 0.0, flipped=0, images=4)
    _warn_of_one_class(context, "qat", Evaluation(10.0, 2.3, 10.0, None, classes, parity))
    assert len(context.warnings) == count
    assert all("one and the same class" in warning for warning in context.warnings)
