import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from qatexp.config.schema import ExportConfig
from qatexp.runtimes import onnxruntime


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    return nn.Sequential(*layers, *head).eval()


@pytest.fixture(scope="session")
def images():
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def exported(network, images, tmp_path_factory):
    """The network as a file with a free batch."""
    path = tmp_path_factory.mktemp("exported") / "network.onnx"
    onnxruntime.export(network, images[:2], path, ExportConfig())
    return path


@pytest.fixture
def save(tmp_path):
    """Write a model of ONNX nodes by hand: `images` (N, 3, 8, 8) in, `logits` out."""

    def write(nodes, channels, constants):
        batch = "batch"
        graph = helper.make_graph(
            nodes,
            "by_hand",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, channels, 8, 8])],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
        )
        opset = helper.make_opsetid("", 21)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        path = tmp_path / "by_hand.onnx"
        onnx.save(model, path)
        return path

    return write
