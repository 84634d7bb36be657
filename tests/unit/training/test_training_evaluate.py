import pytest
import torch
from torch import nn

from qatexp.training import evaluate


@pytest.fixture
def batches():
    """Batches of different sizes: a mean of their means would weigh them alike."""
    generator = torch.Generator().manual_seed(0)
    sizes = (7, 7, 3)
    return [(torch.randn(size, 4, generator=generator), torch.arange(size) % 3) for size in sizes]


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))


def test_figures_are_those_of_the_whole_split(model, batches):
    scores = evaluate(model, batches)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        logits = model.eval()(images)
    assert scores.logits.shape == (17, 3)
    # The same images in other batches: a matrix product may sum in another order.
    assert torch.allclose(scores.logits, logits, atol=1e-6)
    assert scores.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item())
    assert scores.top1 == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    assert torch.equal(scores.predictions, logits.argmax(1))


@pytest.mark.parametrize("right", [0, 1, 3, 4])
def test_top1_is_in_percent(right):
    labels = torch.zeros(4, dtype=torch.long)
    logits = torch.eye(2)[[0] * right + [1] * (4 - right)]
    assert evaluate(lambda images: logits, [(torch.zeros(4, 1), labels)]).top1 == 25.0 * right


@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
def test_the_mode_of_a_module_is_restored(model, batches, training):
    model.train(training)
    before = model[1].running_mean.clone()
    evaluate(model, batches)
    assert [part.training for part in model.modules()] == [training] * 4
    assert torch.equal(model[1].running_mean, before)


def test_no_gradients_are_kept(model, batches):
    assert not evaluate(model, batches).logits.requires_grad


def test_half_precision_is_measured_in_float32(batches):
    def predict(images):
        return torch.full((len(images), 3), 2.0, dtype=torch.bfloat16)

    scores = evaluate(predict, batches)
    assert scores.logits.dtype == torch.float32
    assert scores.loss == pytest.approx(torch.tensor(3.0).log().item())
