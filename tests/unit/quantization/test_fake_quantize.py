from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from qatexp.quantization.fake_quantize import (
    AbsMaxWeight,
    DorefaActivation,
    DorefaWeight,
    LsqActivation,
    LsqWeight,
    MinMaxEmaActivation,
    PactActivation,
    WeightFakeQuantize,
    sampling,
)

ACTIVATIONS = pytest.mark.parametrize(
    "cls",
    [LsqActivation, MinMaxEmaActivation, PactActivation, DorefaActivation],
    ids=lambda cls: cls.__name__,
)


@pytest.fixture
def whole_batch(monkeypatch):
    """The gradient of a range from all images: formulas can then be compared term by term."""
    monkeypatch.setattr(sampling, "EVERY", 1)


def activation(cls=LsqActivation, *, bits=4, zero_point=0):
    return cls(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=2**bits - 1,
        qscheme=torch.per_tensor_affine,
        zero_point=zero_point,
    )


def weight(cls=LsqWeight, *, bits=4, channels=6, per_channel=True):
    top = 2 ** (bits - 1) - 1
    scheme = torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric
    return cls(dtype=torch.int8, quant_min=-top, quant_max=top, qscheme=scheme, channels=channels)


@ACTIVATIONS
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("low", [0.0, -1.5], ids=["unsigned", "affine"])
def test_activation_values_equal_torchs_own(cls, bits, low):
    quantizer = activation(cls, bits=bits, zero_point=0 if low == 0 else None).eval()
    quantizer.set_range_(low, 3.0)
    x = torch.randn(4, 5, 6, 6) * 2
    scale, zero_point = quantizer.calculate_qparams()
    expected = torch.fake_quantize_per_tensor_affine(
        x, float(scale.detach()), int(zero_point), 0, 2**bits - 1
    )
    # One rounding apart: torch subtracts the zero point after rounding, the clamp comes first here.
    torch.testing.assert_close(quantizer(x), expected, rtol=0, atol=1e-6)


def lsq_gradients(values, scale, upstream, *, low, high, factor):
    """Equations 2 and 3 of the LSQ paper, written down literally; the scale's per element."""
    v = values / scale
    inside = (v > low) & (v < high)
    step = torch.where(inside, v.round() - v, v.round().clamp(low, high))
    return upstream * inside, upstream * step * factor


@pytest.mark.usefixtures("whole_batch")
def test_activation_gradients_are_those_of_the_lsq_paper():
    quantizer = activation(bits=4)
    quantizer.set_range_(0.0, 2.0)
    x = torch.randn(8, 3, 5, 5, requires_grad=True)
    upstream = torch.randn(8, 3, 5, 5)
    quantizer(x).backward(upstream)
    scale = quantizer.scale.detach()
    factor = 1.0 / math.sqrt(x[0].numel() * 15)
    grad_x, grad_scale = lsq_gradients(x.detach(), scale, upstream, low=0, high=15, factor=factor)
    torch.testing.assert_close(x.grad, grad_x)
    # A sum over 600 products in another order.
    torch.testing.assert_close(quantizer.scale.grad, grad_scale.sum().view(1), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("whole_batch")
def test_offset_gradient_is_that_of_lsq_plus():
    """Only clipped values have one: both ends move with the offset."""
    quantizer = activation(bits=8, zero_point=None)
    quantizer.set_range_(-1.0, 2.0)
    x = torch.randn(64, 40) * 3
    upstream = torch.rand(64, 40) + 0.5
    quantizer(x).backward(upstream)
    factor = 255.0 / math.sqrt(40 * 255)
    low, high = (code * float(quantizer.scale.detach()) for code in quantizer.codes())
    expected = (upstream * ((x < low) | (x > high))).sum() * factor
    torch.testing.assert_close(quantizer.offset.grad, expected.view(1))


@pytest.mark.usefixtures("whole_batch")
def test_at_a_constant_offset_the_scale_moves_the_upper_end_alone():
    quantizer = activation(bits=8, zero_point=None)
    quantizer.set_range_(-1.0, 2.0)
    low, high = torch.full((4, 10), -5.0), torch.full((4, 10), 5.0)
    for x, code in ((low, 0.0), (high, 255.0)):
        quantizer.scale.grad = None
        quantizer(x).sum().backward()
        expected = torch.tensor([40 * code / math.sqrt(10 * 255)])
        torch.testing.assert_close(quantizer.scale.grad, expected, rtol=1e-4, atol=1e-4)


def test_offset_is_deployed_as_the_zero_point_and_moves_with_it():
    quantizer = activation(bits=8, zero_point=None)
    quantizer.set_range_(-1.0, 2.0)
    before = int(quantizer.calculate_qparams()[1])
    quantizer.offset.data.mul_(1.09)
    out = quantizer.train()(torch.tensor([[-9.0, 0.0]])).detach()
    scale, zero_point = quantizer.calculate_qparams()
    assert int(zero_point) > before
    assert out.tolist() == [[pytest.approx(float(-zero_point * scale)), 0.0]]
    assert abs(float(quantizer.offset.detach()) - float(out[0, 0])) <= float(scale) / 2


@pytest.mark.parametrize("target", [5.0, -100.0], ids=["past zero", "far down"])
def test_one_step_moves_an_offset_by_a_few_per_cent_of_the_span(target):
    quantizer = activation(bits=8, zero_point=None)
    quantizer.set_range_(-0.1, 2.9)
    before = float(quantizer.offset.detach())
    quantizer.offset.data.fill_(target)
    quantizer.settle_()
    after = float(quantizer.offset.detach())
    assert after == pytest.approx(0.0 if target > 0 else before - 0.15)
    quantizer.settle_()  # a second look, as in evaluation, changes nothing
    assert float(quantizer.offset.detach()) == after


def test_pact_learns_from_clipped_values_alone():
    quantizer = activation(PactActivation, bits=4)
    quantizer.set_range_(0.0, 2.0)
    x = torch.tensor([[-1.0, 0.5, 1.9, 2.5, 7.0]], requires_grad=True)
    quantizer(x).backward(torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]]))
    assert x.grad.tolist() == [[0.0, 2.0, 4.0, 0.0, 0.0]]
    torch.testing.assert_close(quantizer.alpha.grad, torch.tensor([24.0]))


def test_pact_moves_both_ends_of_a_signed_range():
    quantizer = activation(PactActivation, bits=8, zero_point=None)
    quantizer.set_range_(-1.0, 2.0)
    quantizer(torch.tensor([[-9.0, 0.3, 9.0]])).backward(torch.tensor([[1.0, 1.0, 1.0]]))
    low, high = quantizer.codes()
    torch.testing.assert_close(quantizer.alpha.grad, torch.tensor([1.0 + low / high]))


def test_pact_derives_the_scale_from_its_clipping_value():
    quantizer = activation(PactActivation, bits=4)
    quantizer.set_range_(0.0, 2.0)
    quantizer.alpha.data.fill_(2.05)
    out = quantizer.train()(torch.full((1, 2), 9.0)).detach()
    torch.testing.assert_close(out, torch.full((1, 2), 2.05))
    torch.testing.assert_close(quantizer.calculate_qparams()[0], torch.tensor([2.05 / 15]))


def test_dorefa_deploys_the_codes_that_it_trains_with():
    quantizer = weight(DorefaWeight)
    w = nn.Parameter(torch.randn(6, 3, 3, 3))
    seen = quantizer(w)
    scale, _ = quantizer.calculate_qparams()
    steps = scale.view(-1, 1, 1, 1)
    assert torch.equal(seen, quantizer.codes(w) * steps)
    assert torch.equal(quantizer.codes(w).abs().amax((1, 2, 3)), torch.full((6,), 7.0))
    assert (quantizer(torch.zeros_like(w)) == 0).all()
    upstream = torch.randn_like(w)
    quantizer(w).backward(upstream)
    torch.testing.assert_close(w.grad, upstream * (1 - torch.tanh(w.detach()).square()))


def test_the_largest_weight_of_a_derived_scale_keeps_its_gradient():
    """Its code may be 7.0000005 in float, which is not outside the grid."""
    quantizer = weight(AbsMaxWeight, channels=500)
    w = nn.Parameter(torch.randn(500, 9))
    quantizer(w).sum().backward()
    assert torch.equal(w.grad, torch.ones_like(w))


@pytest.mark.parametrize("batch", [128, 37, 9, 3], ids=str)
@pytest.mark.parametrize("cls", [LsqActivation, PactActivation], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("zero_point", [0, None], ids=["unsigned", "affine"])
def test_the_gradient_from_a_part_of_the_batch_is_an_unbiased_estimate(
    monkeypatch, batch, cls, zero_point
):
    """The mean over all draws is the gradient of the whole batch, whatever the batch's size."""
    quantizer = activation(cls, zero_point=zero_point)
    quantizer.set_range_(-1.0, 2.0)
    x, upstream = torch.randn(batch, 3, 5, 5) * 2, torch.randn(batch, 3, 5, 5)

    def gradients():
        learned = list(quantizer.parameters())
        return torch.cat(torch.autograd.grad(quantizer(x), learned, upstream)).double()

    draws = []
    for start in range(sampling.sample(x)[1]):
        monkeypatch.setattr(torch, "randint", lambda *_, start=start: torch.tensor(start))
        draws.append(gradients())
    assert len(draws) == {128: 4, 37: 4, 9: 2, 3: 1}[batch]
    monkeypatch.setattr(sampling, "EVERY", 1)
    # Sums of some thousand float32 terms in two orders.
    torch.testing.assert_close(torch.stack(draws).mean(0), gradients(), rtol=1e-4, atol=1e-3)


def one_step(quantizer, x):
    """Output and gradients of one step, and the learned state that the next one starts from."""
    x = x.clone().requires_grad_()
    out = quantizer.train()(x)
    (out * torch.arange(out.numel()).view_as(out).sin()).sum().backward()
    torch.optim.SGD([x, *quantizer.parameters()], lr=0.1).step()
    if isinstance(quantizer, WeightFakeQuantize):
        quantizer.update_(x)
    else:
        quantizer.settle_()
    gradients = [parameter.grad for parameter in quantizer.parameters()]
    return [out.detach(), x.grad, *gradients, *quantizer.state_dict().values()]


@ACTIVATIONS
@pytest.mark.parametrize("zero_point", [0, None], ids=["unsigned", "affine"])
@pytest.mark.usefixtures("whole_batch")
def test_the_form_for_accelerators_computes_the_same(monkeypatch, cls, zero_point):
    """There a number is never read from the device; here the same operators run on the CPU."""
    x = torch.randn(8, 3, 5, 5) * 2
    results = []
    for on_cpu in (True, False):
        monkeypatch.setattr(torch.Tensor, "is_cpu", on_cpu)
        quantizer = activation(cls, zero_point=zero_point)
        quantizer.set_range_(-1.0, 2.0)
        results.append(one_step(quantizer, x))
    assert torch.equal(results[0][0], results[1][0])
    # Numbers are double-precision between operators, tensors are not.
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", [LsqWeight, DorefaWeight], ids=lambda cls: cls.__name__)
def test_weights_on_accelerators_are_rounded_the_same(monkeypatch, cls):
    results = []
    w = torch.randn(6, 3, 3, 3)
    for on_cpu in (True, False):
        monkeypatch.setattr(torch.Tensor, "is_cpu", on_cpu)
        quantizer = weight(cls)
        quantizer.set_scale_(torch.full((6,), 0.3))
        results.append(one_step(quantizer, w))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_evaluation_draws_no_random_numbers():
    before = torch.get_rng_state()
    activation().eval()(torch.randn(64, 4, generator=torch.Generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_gradient_comes_in_the_memory_format_of_the_input():
    """Another format makes the backward pass of a preceding batch norm ten times slower."""
    quantizer = activation()
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    hooked, seen = x * 1.0, []
    hooked.register_hook(seen.append)
    quantizer(hooked).sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_weight_gradients_are_those_of_the_lsq_paper():
    quantizer = weight(bits=4, channels=6)
    w = nn.Parameter(torch.randn(6, 3, 3, 3))
    quantizer.set_scale_(torch.full((6,), 0.6))  # far above mean(abs(w)) / sqrt(7): undamped
    upstream = torch.randn_like(w)
    quantizer(w).backward(upstream)
    scale = quantizer.scale.detach().view(-1, 1, 1, 1)
    factor = 1.0 / math.sqrt(27 * 7)
    grad_w, grad_scale = lsq_gradients(w.detach(), scale, upstream, low=-7, high=7, factor=factor)
    torch.testing.assert_close(w.grad, grad_w)
    per_channel = grad_scale.flatten(1).sum(1)
    torch.testing.assert_close(quantizer.scale.grad, per_channel, rtol=1e-4, atol=1e-5)


def test_per_tensor_weight_has_one_scale_with_a_gradient():
    quantizer = weight(per_channel=False)
    w = nn.Parameter(torch.randn(6, 3, 3, 3))
    quantizer.set_scale_(quantizer.absmax_scale(w))
    quantizer(w).square().sum().backward()
    assert quantizer.scale.shape == quantizer.scale.grad.shape == (1,)


def test_disabled_quantizer_still_clips_for_the_relu6_it_replaced():
    quantizer = activation()
    quantizer.enabled, quantizer.clip = False, (0.0, 6.0)
    x = torch.tensor([[-1.0, 3.0, 9.0]])
    assert torch.equal(quantizer(x), torch.tensor([[0.0, 3.0, 6.0]]))


def test_learned_scale_never_passes_the_bound_of_a_relu6():
    quantizer = activation(bits=8)
    quantizer.clip = (0.0, 6.0)
    quantizer.set_range_(0.0, 100.0)
    out = quantizer.train()(torch.full((1, 4), 100.0))
    torch.testing.assert_close(out.max(), torch.tensor(6.0))


@pytest.mark.parametrize("target", [-0.5, 1e6], ids=["past zero", "far up"])
def test_one_step_changes_a_learned_scale_by_a_few_per_cent_at_most(target):
    """A step that knows no scale's size killed 23 of 104 activations of a MobileNetV3."""
    quantizer = activation()
    quantizer.set_range_(0.0, 1.5)
    before = float(quantizer.scale.detach())
    quantizer.scale.data.fill_(target)
    quantizer.train()(torch.randn(2, 4))
    after = float(quantizer.scale.detach())
    assert after == pytest.approx(before * (0.95 if target < 0 else 1.05))
    assert float(quantizer.eval()(torch.randn(2, 4)).abs().max().detach()) <= after * 15


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_that_grow_do_not_leave_their_scale_behind(per_channel):
    """Of a MobileNetV3, 15 % of the channels ended with nearly all of their weights clipped."""
    quantizer = weight(bits=8, channels=6, per_channel=per_channel)
    w = torch.randn(6, 3, 3, 3)
    quantizer.set_scale_(quantizer.absmax_scale(w))
    quantizer.train()(w * 100)
    ends = quantizer.scale.detach() * 127
    torch.testing.assert_close(
        ends, (w * 100).abs().mean((1, 2, 3) if per_channel else (0, 1, 2, 3)).view(-1)
    )


@pytest.mark.parametrize(
    ("channels", "per_channel"), [(6, False), (1, True)], ids=["per tensor", "one channel"]
)
def test_the_only_scale_of_a_weight_is_limited_too(channels, per_channel):
    quantizer = weight(bits=8, channels=channels, per_channel=per_channel)
    w = torch.randn(channels, 3, 3, 3)
    quantizer.set_scale_(quantizer.absmax_scale(w))
    before = quantizer.scale.detach().clone()
    with torch.no_grad():
        quantizer.scale.mul_(1.2)
    quantizer.train()(w)
    torch.testing.assert_close(quantizer.scale.detach(), before * 1.05)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.05])
def test_scales_below_half_the_papers_start_change_as_slowly_as_there(share):
    """Undamped, one channel in 25 of a ResNet-20 at 8 bits ended with most weights clipped.

    A step changes a scale by gradient / scale, relative to it: that grows with 1 / scale**2.
    """
    w = torch.randn(6, 1, 3, 3)
    w /= w.abs().mean((1, 2, 3), keepdim=True)
    scale = torch.full((6,), share * 2 / math.sqrt(127))
    quantizer = weight(bits=8, channels=6)
    quantizer.set_scale_(scale)
    upstream = torch.randn_like(w)
    quantizer(w.clone().requires_grad_()).backward(upstream)
    paper = {"low": -127, "high": 127, "factor": 1.0 / math.sqrt(9 * 127)}
    undamped = lsq_gradients(w, scale.view(-1, 1, 1, 1), upstream, **paper)[1].flatten(1).sum(1)
    # Sums of errors that cancel one another, in float32.
    expected = undamped * min(2 * share, 1.0) ** 2
    torch.testing.assert_close(quantizer.scale.grad, expected, rtol=1e-3, atol=1e-6)


def test_scales_of_dead_filters_learn_no_faster_than_the_others():
    """Their gradient grows as the weights shrink; undamped they grew 3500-fold in 60 steps."""
    quantizer = weight(bits=8, channels=6)
    w = torch.randn(6, 3, 3, 3)
    w[0] *= 1e-4
    w.requires_grad_()
    quantizer.set_scale_(quantizer.absmax_scale(w))
    normalized = nn.functional.batch_norm(quantizer(w).flatten(1).T, None, None, training=True)
    (normalized * torch.randn(27, 6)).sum().backward()
    relative = (quantizer.scale.grad / quantizer.scale.detach()).abs()
    # Undamped it would be 1e8 times theirs; in 600 draws of these numbers it is 14 times at most.
    assert float(relative[0]) < 100 * float(relative[1:].median())


def test_moving_average_follows_training_batches_until_frozen():
    quantizer = activation(MinMaxEmaActivation)
    quantizer.set_range_(0.0, 1.0)
    quantizer.train()(torch.full((1, 4), 2.0))
    moved = float(quantizer.scale)
    assert moved == pytest.approx((1.0 + 0.01 * 1.0) / 15)
    quantizer.freeze_()
    quantizer(torch.full((1, 4), 50.0))
    assert float(quantizer.scale) == moved


def test_moving_average_outlives_a_batch_that_is_not_finite():
    """The loss shows it, and says so in words: a range that is not a number cannot."""
    quantizer = activation(MinMaxEmaActivation)
    quantizer.set_range_(0.0, 4.0)
    for value in (float("nan"), float("inf")):
        quantizer(torch.tensor([1.0, value]))
    assert quantizer.range.tolist() == [0.0, 4.0]
    assert quantizer(torch.tensor([float("nan")])).isnan().all()


def test_moving_average_ignores_evaluation_batches():
    quantizer = activation(MinMaxEmaActivation)
    quantizer.set_range_(0.0, 1.0)
    before = float(quantizer.scale)
    quantizer.eval()(torch.full((1, 4), 50.0))
    assert float(quantizer.scale) == before


@ACTIVATIONS
def test_zero_lies_on_every_grid(cls):
    quantizer = activation(cls, zero_point=None)
    for low, high in [(-3.0, 1.0), (0.5, 2.0), (-2.0, -1.0)]:
        quantizer.set_range_(low, high)
        assert float(quantizer.eval()(torch.zeros(1, 1)).detach()) == 0.0


@ACTIVATIONS
def test_constant_zero_activation_does_not_divide_by_zero(cls):
    quantizer = activation(cls, zero_point=None)
    quantizer.set_range_(0.0, 0.0)
    assert torch.isfinite(quantizer(torch.zeros(2, 3))).all()
