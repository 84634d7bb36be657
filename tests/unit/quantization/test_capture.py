from __future__ import annotations

import pytest
import torch
from torch import nn

from qatexp.config.schema import QConfig
from qatexp.errors import ModelError
from qatexp.quantization.annotate import Fusions
from qatexp.quantization.capture import capture
from qatexp.quantization.prepare import prepare


def test_captured_graph_computes_what_the_model_computes(odd_net, images):
    graph_module = capture(odd_net, images)
    torch.testing.assert_close(graph_module(images), odd_net(images))


def test_one_training_step_equals_that_of_the_model(odd_net, images):
    odd_net.dropout.p = 0.0
    graph_module = capture(odd_net, images).train()
    odd_net.train()
    graph_module(images).square().sum().backward()
    odd_net(images).square().sum().backward()
    captured = dict(graph_module.named_parameters())
    for name, parameter in odd_net.named_parameters():
        torch.testing.assert_close(captured[name].grad, parameter.grad, rtol=1e-4, atol=1e-5)


def test_running_statistics_move_as_in_the_model(odd_net, images):
    graph_module = capture(odd_net, images).train()
    odd_net.train()
    graph_module(images)
    odd_net(images)
    moved = graph_module.get_submodule("bn_stem").running_mean
    torch.testing.assert_close(moved, odd_net.bn_stem.running_mean)


def test_no_in_place_operator_is_left(odd_net, images):
    """In-place operators overwrite what a fake quantizer saved for its backward pass."""
    graph_module = capture(odd_net, images)
    names = [
        str(n.target).split(".")[1] for n in graph_module.graph.nodes if "aten." in str(n.target)
    ]
    assert not [name for name in names if name.endswith("_")]


def test_mean_over_height_and_width_becomes_a_pool(odd_net, images):
    targets = [str(node.target) for node in capture(odd_net, images).graph.nodes]
    assert "aten.adaptive_avg_pool2d.default" in targets
    assert "aten.mean.dim" not in targets


def test_the_model_itself_stays_as_it_is(odd_net, images):
    before = {key: value.clone() for key, value in odd_net.state_dict().items()}
    odd_net.train()
    graph_module = capture(odd_net, images).train()
    for parameter in graph_module.parameters():
        with torch.no_grad():
            parameter.add_(1.0)
    assert odd_net.training
    assert all(torch.equal(before[key], value) for key, value in odd_net.state_dict().items())


def test_a_model_with_data_dependent_control_flow_is_refused(images):
    class Branches(nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    with pytest.raises(ModelError, match=r"torch\.export cannot capture Branches: "):
        capture(Branches(), images)


class Steps(nn.Module):
    """Many in-place operators on values that nothing else reads."""

    def forward(self, x):
        y = x * 2
        y -= 0.5
        y /= 3.0
        y.pow_(2).clamp_min_(0.01).sqrt_()
        y.masked_fill_(x > 1, 0.25)
        return y.sub_(y.mean([2, 3], keepdim=True)).transpose_(2, 3)


def test_every_in_place_operator_is_replaced(images):
    graph_module = capture(Steps(), images)
    targets = [node.target for node in graph_module.graph.nodes if node.op == "call_function"]
    assert not [target for target in targets if target._schema.is_mutable]
    torch.testing.assert_close(graph_module(images), Steps()(images))


class PartOf(nn.Module):
    def forward(self, x):
        y = x * 2
        y[:, 0] = 1.0
        return y


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return x * 2


@pytest.mark.parametrize(
    ("model", "text"),
    [
        pytest.param(PartOf(), r"aten\.fill_\.Tensor.* changes memory that", id="a view"),
        pytest.param(Counting(), r"aten\.add_\.Tensor.* changes calls, which", id="a buffer"),
    ],
)
def test_an_in_place_operator_that_cannot_be_replaced_is_refused(images, model, text):
    """Replaced blindly, the graph would compute something else than the model."""
    with pytest.raises(ModelError, match=rf"^the in-place operator {text}"):
        capture(model, images)


def test_batch_norm_without_running_statistics_is_refused(images):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ModelError, match=r"^batch norm 1 has no running statistics, so it cannot"):
        capture(model, images)


def test_batch_norm_with_a_cumulative_average_is_refused(images):
    """Its momentum is exported as 0: the statistics would never move."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=None))
    with pytest.raises(ModelError, match=r"^batch norm 1 has momentum=None \(a cumulative"):
        capture(model, images)


def test_dropout_of_whole_channels_in_place_is_kept(images):
    graph_module = capture(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout2d(0.2, True)), images)
    (dropout,) = (m for m in graph_module.modules() if isinstance(m, nn.Dropout2d))
    assert dropout.p == 0.2


# torch tells the users of even kernels that it has to copy the input.
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 5), (1, 4)], ids=str)
def test_a_convolution_whose_padding_is_a_word_is_quantized_too(padding, kernel):
    """It stayed in float without a word: torch has an operator of its own for it."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, kernel, padding=padding, dilation=(1, 2))
    model = nn.Sequential(conv, nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(capture(model, images)(images), model(images))
    assert list(prepare(model, images, QConfig()).plan.layers) == ["0", "2"]


class OwnNorm(nn.Module):
    """Calls the functional batch norm on buffers of its own, beside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3, 0.4]))
        self.register_buffer("var", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x):
        return nn.functional.batch_norm(self.conv(x), self.mean, self.var, training=self.training)


@pytest.mark.parametrize("inside", [False, True], ids=["the model", "a block"])
def test_a_functional_batch_norm_leaves_its_owner_alone(images, inside):
    model = (nn.Sequential(OwnNorm(), nn.ReLU()) if inside else OwnNorm()).eval()
    graph_module = capture(model, images)
    torch.testing.assert_close(graph_module(images), model(images))
    prepared = prepare(model, images, QConfig())
    assert prepared.plan.fusions["batch_norm"] == Fusions(1, ())
