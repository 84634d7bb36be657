import pytest
import torch

from qatexp.measurement import compare_logits


def test_the_same_logits_agree_entirely():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    parity = compare_logits(logits, logits.clone())
    assert (parity.top1_agreement, parity.max_abs_diff) == (1.0, 0.0)
    assert (parity.flipped, parity.images) == (0, 5)


def test_flipped_images_are_counted():
    trained = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    deployed = torch.tensor([[1.0, 0.5], [0.0, 1.0], [0.0, 1.0], [0.0, 3.0]])
    parity = compare_logits(trained, deployed)
    assert parity.top1_agreement == 0.75
    assert parity.flipped == 1
    assert parity.images == 4
    assert parity.max_abs_diff == 2.0


def test_the_largest_difference_may_be_downwards():
    parity = compare_logits(torch.tensor([[4.0, 1.0]]), torch.tensor([[1.0, 2.0]]))
    assert parity.max_abs_diff == 3.0


def test_the_share_is_exact_for_many_images():
    """Shares of float32 are off in the seventh digit from 10,000 images on."""
    trained = torch.eye(2)[[0] * 10_000]
    deployed = torch.eye(2)[[0] * 9_999 + [1]]
    assert compare_logits(trained, deployed).top1_agreement == pytest.approx(0.9999, abs=1e-12)
