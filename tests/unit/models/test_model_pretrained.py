import logging
from http.client import RemoteDisconnected
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import MobileNet_V2_Weights, SqueezeNet1_1_Weights, mobilenet_v2
from torchvision.models import squeezenet1_1 as squeezenet

from qatexp.config.schema import ModelConfig
from qatexp.errors import ModelError
from qatexp.models import build_model
from qatexp.models.pretrained import find_head, replace_head_

MOBILENET = ModelConfig("torchvision.models.mobilenet_v2", pretrained=True)


def build(config=MOBILENET, *, num_classes):
    return build_model(config, num_classes=num_classes, in_channels=3, image_size=(32, 32))


@pytest.fixture(scope="module")
def imagenet():
    """Stands for the downloaded file."""
    return mobilenet_v2().state_dict()


@pytest.fixture
def _downloaded(monkeypatch, imagenet):
    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", lambda self, **_: imagenet)


@pytest.mark.usefixtures("_downloaded")
def test_all_weights_are_kept_where_the_classes_are_the_same(imagenet):
    built = build(num_classes=1000)
    assert built.warnings == ()
    assert all(
        torch.equal(value, imagenet[name]) for name, value in built.model.state_dict().items()
    )


@pytest.mark.usefixtures("_downloaded")
def test_other_classes_get_a_fresh_classifier_and_a_warning_that_is_logged_too(imagenet, caplog):
    with caplog.at_level(logging.WARNING):
        built = build(num_classes=10)
    state = built.model.state_dict()
    kept = [name for name in state if not name.startswith("classifier.1.")]
    assert all(torch.equal(state[name], imagenet[name]) for name in kept)
    assert built.model.classifier[1].weight.shape == (10, 1280)
    assert built.warnings == (
        "model.pretrained=true: the weights of mobilenet_v2 are for 1000 classes and the data set "
        "has 10: the classifier classifier.1 starts from random values and has to be trained.",
    )
    assert [each.getMessage() for each in caplog.records] == list(built.warnings)


@pytest.mark.usefixtures("_downloaded")
def test_options_that_change_the_shapes_are_refused_with_the_weights_named():
    config = ModelConfig(MOBILENET.target, pretrained=True, options={"width_mult": 0.5})
    with pytest.raises(ModelError, match="mobilenet_v2 cannot be built with its weights") as caught:
        build(config, num_classes=1000)
    assert "set model.pretrained=false and model.checkpoint=FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("problem", "quoted"),
    [
        pytest.param(
            URLError("no network"), "URLError: <urlopen error no network>", id="no-network"
        ),
        pytest.param(RemoteDisconnected("gone."), "RemoteDisconnected: gone", id="cut-off"),
    ],
)
def test_a_failed_download_names_the_file_and_both_ways_out(monkeypatch, tmp_path, problem, quoted):
    def fail(self, **_):
        raise problem

    monkeypatch.setattr(MobileNet_V2_Weights, "get_state_dict", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ModelError) as caught:
        build(num_classes=10)
    assert str(caught.value) == (
        "model.pretrained=true: the weights of mobilenet_v2 cannot be downloaded from "
        f"{MobileNet_V2_Weights.DEFAULT.url}: {quoted}. Put the file into "
        f"{tmp_path / 'checkpoints'} yourself, or set model.pretrained=false and "
        "model.checkpoint=FILE."
    )


def test_a_classifier_that_is_a_convolution_is_renewed(monkeypatch):
    state = squeezenet().state_dict()
    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", lambda self, **_: state)
    config = ModelConfig("torchvision.models.squeezenet1_1", pretrained=True)
    built = build_model(config, num_classes=10, in_channels=3, image_size=(64, 64))
    assert built.model.classifier[1].weight.shape == (10, 512, 1, 1)
    assert "the classifier classifier.1 starts" in built.warnings[0]


def test_a_head_without_bias_stays_without_bias():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 9, bias=False))
    head = find_head(model, classes=9)
    replace_head_(model, head, classes=3)
    assert (head, model[1].bias, model[1].out_features) == ("1", None, 3)


def test_a_model_without_a_head_is_refused():
    with pytest.raises(ModelError, match="no classifier with 9 outputs was found in Sequential"):
        find_head(nn.Sequential(nn.ReLU()), classes=9)
