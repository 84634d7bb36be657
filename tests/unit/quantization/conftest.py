"""Networks that hold what quantization gets wrong: odd gammas, eps, sharing, clips, views."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import qatexp.quantization  # noqa: F401  before torchao, whose import logs a deprecation


class OddNet(nn.Module):
    """Zero and negative gammas, eps 1e-3, ReLU6, depthwise and grouped convs, concat, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn_stem = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.bn_depthwise = nn.BatchNorm2d(8, eps=1e-3, momentum=0.01)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.bn_grouped = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.bn_stem(self.stem(x)))
        shared = nn.functional.max_pool2d(x, 2)
        left = nn.functional.relu6(self.bn_depthwise(self.depthwise(shared)))
        right = self.bn_grouped(self.grouped(shared))
        right += shared
        x = torch.cat([left, torch.relu(right)], dim=1)
        return self.head(self.dropout(x.mean([2, 3])))


def randomize_batch_norms_(model: nn.Module) -> None:
    """Give batch norms the statistics of a trained net, negative and zero gammas among them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            with torch.no_grad():
                module.weight.normal_()
                module.bias.normal_(0, 0.3)
                module.weight[0] = 0.0
                module.weight[1] = -1.0


@pytest.fixture
def odd_net() -> nn.Module:
    torch.manual_seed(0)
    model = OddNet()
    randomize_batch_norms_(model)
    return model.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))
