import logging
import textwrap

import pytest
import torch
from torch import nn

from qatexp.config.schema import ModelConfig
from qatexp.errors import ConfigError, ModelError
from qatexp.models import BuiltModel, build_model

MINE = """
    import torch
    from torch import nn
    from qatexp.errors import DataError

    class Net(nn.Module):
        def __init__(self, width, num_classes, in_channels=1, depth=1):
            super().__init__()
            self.width, self.depth = width, depth
            self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
            self.head = nn.Linear(width, num_classes)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    def keyword_bag(**kwargs):
        assert "num_classes" not in kwargs, kwargs
        return Net(4, 10)

    def timm_like(in_chans, pretrained=False, **kwargs):
        net = Net(4, 10, in_chans)
        net.pretrained = pretrained
        return net

    def hidden():
        return Net(4, 10)

    hidden.__signature__ = 1  # as of a function in C

    def fails():
        raise RuntimeError("no luck today.\\nsecond line")

    def refuses():
        raise DataError("a message of our own")

    def not_a_module():
        return [1]

    class Returns(nn.Module):
        def __init__(self, what):
            super().__init__()
            self.what = what

        def forward(self, x):
            logits = torch.zeros(x.shape[0], 10)
            return {"tuple": (logits, logits), "ints": logits.long(), "flat": logits[0]}[self.what]
"""


@pytest.fixture(autouse=True)
def _my_models(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(textwrap.dedent(MINE))
    monkeypatch.syspath_prepend(tmp_path)


def build(target, *, num_classes=10, in_channels=1, size=8, **config) -> BuiltModel:
    return build_model(
        ModelConfig(target, **config),
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=(size, size),
        trusted=["my_models"],
    )


def test_a_users_own_model_gets_its_options_and_what_the_data_decides():
    built = build("my_models.Net", num_classes=3, in_channels=2, options={"width": 5})
    assert (built.model.width, built.model.head.out_features) == (5, 3)
    assert built.model.conv.in_channels == 2
    assert built.warnings == ()


def test_the_users_value_wins_over_that_of_the_data():
    with pytest.raises(ModelError, match=r"returns shape \(2, 4\)") as caught:
        build("my_models.Net", options={"width": 5, "num_classes": 4})
    assert str(caught.value) == (
        "model Net returns shape (2, 4) for 2 images, but the data set has 10 classes: expected "
        "(2, 10). Set the argument that decides it, usually +model.num_classes=10."
    )


def test_a_keyword_bag_of_a_stranger_gets_nothing_that_it_did_not_ask_for():
    assert build("my_models.keyword_bag").model.width == 4


def test_timms_word_for_channels_is_understood():
    assert build("my_models.timm_like", in_channels=2).model.conv.in_channels == 2


def test_pretrained_is_passed_to_a_callable_that_takes_it():
    assert build("my_models.timm_like", pretrained=True).model.pretrained is True


def test_models_come_back_in_train_mode_with_untouched_statistics():
    model = build("qatexp.models.resnet8").model
    assert all(module.training for module in model.modules())
    assert model.bn1.num_batches_tracked == 0


def test_the_same_seed_gives_the_same_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build("qatexp.models.resnet8").model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("config", "text"),
    [
        pytest.param(
            {"target": "my_models.Net", "options": {"width": 4, "widht": 3, "dpeth": 1}},
            "model.widht=3, model.dpeth=1: my_models.Net does not accept widht, dpeth; "
            "allowed: width, num_classes, in_channels, depth. "
            "Weights are chosen by model.pretrained and model.checkpoint.",
            id="unknown-option",
        ),
        pytest.param(
            {"target": "my_models.Net"},
            "model._target_=my_models.Net needs width; set +model.width=VALUE.",
            id="missing-option",
        ),
        pytest.param(
            {"target": "torchvision.models.mobilenet_v3_small", "options": {"width": 2}},
            "model.width=2: torchvision.models.mobilenet_v3_small does not accept width; allowed: "
            "progress, num_classes, block, norm_layer, dropout, width_mult, reduced_tail, dilated. "
            "Weights are chosen by model.pretrained and model.checkpoint.",
            id="option-that-torchvision-would-ignore",
        ),
        pytest.param(
            {"target": "qatexp.models.resnet8", "pretrained": True},
            "model.pretrained=true: qatexp.models.resnet8 does not offer pretrained weights (it "
            "has no argument 'pretrained'); set model.pretrained=false and model.checkpoint=FILE.",
            id="no-pretrained-weights",
        ),
        pytest.param(
            {"target": "torchvision.models.resnet18", "pretrained": True, "checkpoint": "w.pth"},
            "model.pretrained=true and model.checkpoint=w.pth exclude each other: "
            "set model.pretrained=false or model.checkpoint=null.",
            id="pretrained-and-checkpoint",
        ),
        pytest.param(
            {"target": "my_models.missing"},
            "model._target_=my_models.missing: my_models has no 'missing'.",
            id="no-such-callable",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_the_choices(config, text):
    with pytest.raises(ConfigError) as caught:
        build(**config)
    assert str(caught.value) == text


def test_a_callable_without_a_signature_is_refused():
    with pytest.raises(
        ConfigError, match=r"model\._target_=my_models\.hidden cannot build a model"
    ):
        build("my_models.hidden")


@pytest.mark.parametrize(
    ("config", "text"),
    [
        pytest.param(
            {"target": "my_models.fails"},
            "model._target_=my_models.fails failed, called with (): RuntimeError: no luck today.",
            id="callable-raises",
        ),
        pytest.param(
            {"target": "my_models.not_a_module"},
            "model._target_=my_models.not_a_module returned a list; "
            "it must return a torch.nn.Module.",
            id="not-a-module",
        ),
        pytest.param(
            {"target": "torchvision.models.mobilenet_v2", "size": 32},
            "model mobilenet_v2 does not take images of shape (1, 32, 32): RuntimeError: Given "
            "groups=1, weight of size [32, 3, 3, 3], expected input[2, 1, 32, 32] to have 3 "
            "channels, but got 1 channels instead. Set dataset.image_size to a size that it takes, "
            "or choose a model whose in_channels can be 1.",
            id="wrong-channels",
        ),
        pytest.param(
            {"target": "my_models.Returns", "options": {"what": "tuple"}},
            "model Returns returns a tuple in eval mode; it must return one tensor of logits, "
            "(2, 10) for 2 images.",
            id="tuple",
        ),
        pytest.param(
            {"target": "my_models.Returns", "options": {"what": "ints"}},
            "model Returns returns torch.int64; it must return logits in floating point.",
            id="integers",
        ),
        pytest.param(
            {"target": "my_models.Returns", "options": {"what": "flat"}},
            "model Returns returns shape (10,) for 2 images, but the data set has 10 classes: "
            "expected (2, 10). Set the argument that decides it, usually +model.num_classes=10.",
            id="flat",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_the_reason(config, text):
    with pytest.raises(ModelError) as caught:
        build(**config)
    assert str(caught.value) == text


def test_an_error_of_our_own_kind_passes_through_a_users_callable():
    from qatexp.errors import DataError

    with pytest.raises(DataError, match="a message of our own"):
        build("my_models.refuses")


def test_torchvision_members_get_their_classes_and_options():
    built = build(
        "torchvision.models.mobilenet_v2",
        num_classes=7,
        in_channels=3,
        size=32,
        options={"width_mult": 0.25},
    )
    assert built.model.classifier[1].out_features == 7
    assert built.model.features[-1][0].in_channels == 80


def test_googlenet_is_built_without_its_warning_about_initialisation(monkeypatch):
    """pytest turns warnings into errors; building would fail on torchvision's FutureWarning."""
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # 5 s of sampling
    built = build("torchvision.models.googlenet", in_channels=3, size=64)
    assert built.model.fc.out_features == 10


def test_nothing_is_logged_without_a_reason(caplog):
    with caplog.at_level(logging.WARNING):
        build("qatexp.models.resnet8")
    assert caplog.records == []


def test_the_weights_of_model_checkpoint_are_those_of_the_model(tmp_path):
    state = build("qatexp.models.resnet8").model.state_dict()
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    built = build("qatexp.models.resnet8", checkpoint=str(tmp_path / "w.pth"))
    assert all(torch.equal(value, state[name]) for name, value in built.model.state_dict().items())


def test_a_torchvision_function_without_a_stated_class_still_gets_the_classes():
    built = build(
        "torchvision.models.get_model", in_channels=3, size=32, options={"name": "mobilenet_v2"}
    )
    assert built.model.classifier[1].out_features == 10
