from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from qatexp.errors import ModelError
from qatexp.quantization.capture import BatchNorm, capture


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


def test_batch_norm_keeps_eps_and_momentum(odd_net, images):
    """Defect 2: torchao's QAT rewrite resets every batch norm to eps 1e-5 and momentum 0.1."""
    graph_module = capture(odd_net, images)
    norms = {n: m for n, m in graph_module.named_modules() if isinstance(m, BatchNorm)}
    assert (norms["bn_stem"].eps, norms["bn_stem"].momentum) == (1e-3, 0.01)
    assert (norms["bn_grouped"].eps, norms["bn_grouped"].momentum) == (1e-5, 0.1)


def test_running_statistics_move_as_in_the_model(odd_net, images):
    graph_module = capture(odd_net, images).train()
    odd_net.train()
    graph_module(images)
    odd_net(images)
    moved = graph_module.get_submodule("bn_stem").running_mean
    torch.testing.assert_close(moved, odd_net.bn_stem.running_mean)


def test_dropout_keeps_its_probability_in_training(odd_net, images):
    """Defect 4: switching an exported graph to train sets every dropout to p = 0.5."""
    graph_module = capture(odd_net, images)
    (dropout,) = (m for m in graph_module.modules() if isinstance(m, nn.Dropout))
    assert dropout.p == 0.3
    graph_module.train()
    assert dropout.training


def test_stochastic_depth_is_not_baked_into_the_graph():
    """Defect 10: captured in train mode, the answers of the graph are random."""
    torch.manual_seed(0)
    model = torchvision.models.efficientnet_b0(num_classes=4).train()
    x = torch.randn(2, 3, 32, 32)
    graph_module = capture(model, x)
    assert torch.equal(graph_module(x), graph_module(x))
    assert not any("rand" in str(node.target) for node in graph_module.graph.nodes)


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
