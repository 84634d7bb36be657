import pytest
import torch
from torch.export import Dim, export

from qatexp.models import cifar_resnet20, resnet8


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        pytest.param(cifar_resnet20, (3, 32, 32), id="cifar_resnet20"),
        pytest.param(resnet8, (1, 8, 8), id="resnet8"),
    ],
)
def test_members_are_captured_with_a_dynamic_batch(build, shape):
    """The graph that is quantized has to run at any batch size and to compute the same."""
    torch.manual_seed(0)
    model = build().eval()
    captured = export(
        model, (torch.zeros(2, *shape),), dynamic_shapes={"x": {0: Dim("batch", min=1)}}
    )
    images = torch.randn(5, *shape)
    with torch.no_grad():
        assert torch.equal(captured.module()(images), model(images))


def test_resnet8_has_the_parameters_that_its_documentation_states():
    assert sum(each.numel() for each in resnet8().parameters()) == 77_754
