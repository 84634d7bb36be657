import pytest
import torch
from torch.nn import functional

from qatexp.training import Distillation, Steering


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=draw).requires_grad_()
    return logits, torch.randn(6, 4, generator=draw), torch.tensor([0, 1, 2, 3, 0, 1])


def test_plain_steering_is_cross_entropy_with_label_smoothing(batch):
    logits, images, labels = batch
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.equal(Steering(label_smoothing=0.1).loss(logits, images, labels), expected)


def test_a_teacher_that_agrees_adds_nothing(batch):
    logits, images, labels = batch
    hard = functional.cross_entropy(logits, labels).detach()
    same = Distillation(lambda _: logits.detach(), weight=0.5, temperature=3.0)
    loss = same.loss(hard, logits.detach(), images)
    # Float rounding of two equal softmaxes.
    assert float(loss) == pytest.approx(0.5 * float(hard), abs=1e-6)


def test_the_loss_pulls_the_logits_to_the_teachers(batch):
    """The temperature leaves the size of the gradient about as it was (Hinton et al., sec. 2)."""
    logits, images, labels = batch
    teacher = Distillation(lambda images: images, weight=1.0, temperature=20.0)
    teacher.loss(functional.cross_entropy(logits, labels), logits, images).backward()
    centred = (logits - images).detach()
    centred = centred - centred.mean(1, keepdim=True)
    # At high temperatures the gradient is the centred difference over classes and images.
    assert torch.allclose(logits.grad, centred / (4 * 6), atol=0.02)
    assert images.grad is None
