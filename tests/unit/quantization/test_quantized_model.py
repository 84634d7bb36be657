"""From a float network to integer codes: what may never change on the way, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from own_path import deployed, qconfig, train_, trained
from torch import nn

from qatexp.config.schema import (
    Backend,
    CalibrationConfig,
    CalibrationMethod,
    ExportConfig,
    Granularity,
    LayerRule,
    QuantizerName,
)
from qatexp.errors import QuantizationError
from qatexp.quantization.batch_norm import BatchNorm
from qatexp.quantization.calibrate import calibrate_
from qatexp.quantization.codes import moved_weight_codes
from qatexp.quantization.convert import convert, fold
from qatexp.quantization.fake_quantize import ActivationFakeQuantize, WeightFakeQuantize
from qatexp.quantization.inventory import ideal_bytes, parameter_count, summary
from qatexp.quantization.prepare import (
    activation_quantizers,
    enable_,
    freeze_batch_norm_,
    prepare,
    quantization_parameters,
    weight_quantizers,
)
from qatexp.runtimes import onnxruntime

BITS = pytest.mark.parametrize(
    ("weight_bits", "activation_bits"),
    [(8, 8), (4, 4), (3, 3), (2, 2), (4, 8), (8, 4)],
    ids=str,
)
QUANTIZERS = pytest.mark.parametrize(
    "quantizer", list(QuantizerName), ids=lambda quantizer: quantizer.name
)


def test_prepared_model_with_quantizers_off_is_the_float_model(odd_net, images):
    graph_module = prepare(odd_net, images, qconfig()).graph_module
    enable_(graph_module, False)
    torch.testing.assert_close(graph_module(images), odd_net(images))


@BITS
@QUANTIZERS
def test_converted_model_equals_the_folded_one_bit_for_bit(
    odd_net, images, weight_bits, activation_bits, quantizer
):
    """Defect 1: what was trained is what is converted, at every bit-width."""
    config = qconfig(weight_bits, activation_bits, quantizer=quantizer)
    folded, _ = fold(trained(odd_net, images, config))
    with torch.no_grad():
        assert torch.equal(convert(folded)(images), folded(images))


def lift_zero_gammas_(model) -> None:
    """A gamma that trained away from zero by 1e-5 has its scale raised, so that its bias fits."""
    with torch.no_grad():
        for name in ("bn_stem", "bn_depthwise", "bn_grouped"):
            model.get_submodule(name).weight[0] = 0.5


def same_codes(prepared, folded) -> bool:
    """Codes before and after folding, up to the signs of the batch norms' gammas."""
    before = [q.codes(w) for q, w in weight_quantizers(prepared)]
    after = [q.codes(w) for q, w in weight_quantizers(folded)]
    signs = [m.weight.sign() for m in prepared.modules() if isinstance(m, BatchNorm)]
    signs.append(torch.ones(len(before[-1])))
    return all(
        torch.equal(new, old * sign.view(-1, *[1] * (old.dim() - 1)))
        for old, new, sign in zip(before, after, signs, strict=True)
    )


@BITS
def test_folding_moves_no_weight_code(odd_net, images, weight_bits, activation_bits):
    """Negative gammas change signs alone; after some training, from gammas away from zero."""
    lift_zero_gammas_(odd_net)
    prepared = trained(odd_net, images, qconfig(weight_bits, activation_bits))
    folded, report = fold(prepared)
    assert report.folded == 3
    assert same_codes(prepared, folded)


def test_zero_gammas_fold_to_zero_codes(odd_net, images):
    prepared = trained(odd_net, images, qconfig(), steps=0)
    folded, _ = fold(prepared)
    assert same_codes(prepared, folded)
    quantizer, weight = next(iter(weight_quantizers(folded)))
    assert not quantizer.codes(weight)[0].any()


@BITS
def test_evaluation_computes_with_folded_weights(odd_net, images, weight_bits, activation_bits):
    """A batch norm on its own is rounded otherwise: ties fall to other codes, layer by layer."""
    lift_zero_gammas_(odd_net)
    prepared = trained(odd_net, images, qconfig(weight_bits, activation_bits))
    folded, _ = fold(prepared)
    with torch.no_grad():
        assert torch.equal(folded(images), prepared(images))


@BITS
def test_training_with_frozen_statistics_differs_from_evaluation_by_rounding(
    odd_net, images, weight_bits, activation_bits
):
    """Biases lie on the int32 grid in training too, so that it sees what is deployed."""
    lift_zero_gammas_(odd_net)
    odd_net.dropout.p = 0.0  # would be another difference
    prepared = trained(odd_net, images, qconfig(weight_bits, activation_bits))
    freeze_batch_norm_(prepared)
    with torch.no_grad():
        evaluated = prepared(images)
        gap = (evaluated - prepared.train()(images)).abs()
    step = float(list(activation_quantizers(prepared))[-1][1].scale.detach())
    # A tie in float32 may fall to the other code somewhere in 16 images; not in one value of 20.
    assert float((gap > step / 2).float().mean()) <= 0.05


def test_a_gamma_that_nearly_vanished_moves_no_code(odd_net, images):
    """Its scale, far below those of other weights, holds the same codes."""
    with torch.no_grad():
        odd_net.bn_stem.weight[2] = 1e-8
        odd_net.bn_stem.bias[2] = 0.0
        odd_net.bn_stem.running_mean[2] = 0.0
    prepared = trained(odd_net, images, qconfig(), steps=0)
    assert moved_weight_codes(prepared, fold(prepared)[0]) == 0


def test_folded_biases_lie_on_the_integer_grid(odd_net, images):
    folded, _ = fold(trained(odd_net, images, qconfig(4, 4)))
    stem = next(n for n in folded.graph.nodes if n.target is torch.ops.aten.conv2d.default)
    modules = dict(folded.named_modules())
    grid = modules[stem.args[0].target].scale * modules[stem.args[1].target].scale
    codes = folded.get_parameter(stem.args[2].target) / grid
    # Codes reach thousands, and float32 holds seven digits.
    torch.testing.assert_close(codes, codes.round(), rtol=1e-6, atol=1e-3)


def test_a_gamma_that_nearly_vanished_does_not_overflow_the_bias(odd_net, images):
    with torch.no_grad():
        odd_net.bn_stem.weight[2] = 1e-9
        odd_net.bn_stem.bias[2] = 1.0
    folded, _ = fold(trained(odd_net, images, qconfig(), steps=0))
    stem = next(n for n in folded.graph.nodes if n.target is torch.ops.aten.conv2d.default)
    modules = dict(folded.named_modules())
    grid = modules[stem.args[0].target].scale * modules[stem.args[1].target].scale
    codes = folded.get_parameter(stem.args[2].target) / grid
    assert float(codes.detach().abs().max()) < 2**31
    with torch.no_grad():
        torch.testing.assert_close(folded(images), convert(folded)(images), rtol=0, atol=0)


def test_batch_norm_without_a_layer_before_it_is_reported(images):
    class PreActivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.bn = nn.BatchNorm2d(4)
            self.last = nn.Conv2d(4, 5, 3)

        def forward(self, x):
            x = nn.functional.max_pool2d(self.conv(x), 2)
            return self.last(torch.relu(self.bn(x))).mean([2, 3])

    folded, report = fold(trained(PreActivation().eval(), images, qconfig()))
    assert report.unfolded == ("bn",)
    with torch.no_grad():
        assert torch.equal(convert(folded)(images), folded(images))


def test_folding_leaves_the_trained_model_as_it_is(odd_net, images):
    prepared = trained(odd_net, images, qconfig())
    with torch.no_grad():
        before = prepared(images)
        fold(prepared)
        assert torch.equal(prepared(images), before)


def exported(model, images, config, path: Path):
    """Logits of the converted model, whose file is written."""
    converted = deployed(model, images, config, path)
    with torch.no_grad():
        return converted(images)


@BITS
def test_unoptimized_runtime_follows_the_converted_model(
    odd_net, images, tmp_path, weight_bits, activation_bits
):
    path = tmp_path / "model.onnx"
    expected = exported(odd_net, images, qconfig(weight_bits, activation_bits), path)
    output = onnxruntime.load(path, threads=1, optimize=False)(images)
    # torch multiplies by 1/scale where ONNX divides: a tie may fall to the neighbouring code.
    codes_apart = ((output - expected).abs() > 1e-4).float().mean()
    assert float(codes_apart) <= 0.05


@pytest.mark.parametrize(
    ("backend", "symmetric"),
    [
        (Backend.onnxruntime, None),
        (Backend.onnxruntime, True),
        (Backend.fbgemm, None),
        (Backend.xnnpack, None),
        (Backend.xnnpack, True),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_every_backend_runs_all_layers_in_integers(odd_net, images, tmp_path, backend, symmetric):
    config = qconfig(backend=backend)
    config.activation.symmetric = symmetric
    path = tmp_path / "model.onnx"
    expected = exported(odd_net, images, config, path)
    description = onnxruntime.describe(path, images[:1])
    assert description.macs_int_share == 1.0
    assert description.ops_float == {}
    output = onnxruntime.load(path, threads=1)(images)
    assert float((output.argmax(1) == expected.argmax(1)).float().mean()) >= 0.9


def test_fbgemm_takes_seven_bits_for_activations(odd_net, images):
    graph_module = prepare(odd_net, images, qconfig(backend=Backend.fbgemm)).graph_module
    assert {q.quant_max for _, q in activation_quantizers(graph_module)} == {127}


@QUANTIZERS
def test_per_tensor_weights_fold_batch_norm_before_training(odd_net, images, quantizer):
    config = qconfig(4, 4, quantizer=quantizer)
    config.weight.granularity = Granularity.per_tensor
    graph_module = prepare(odd_net, images, config).graph_module
    assert not [m for m in graph_module.modules() if isinstance(m, BatchNorm)]
    assert {q.scale.numel() for q, _ in weight_quantizers(graph_module)} == {1}
    folded, _ = fold(trained(odd_net, images, config))
    with torch.no_grad():
        assert torch.equal(convert(folded)(images), folded(images))


def test_first_and_last_layer_keep_their_bits(odd_net, images):
    plan = prepare(odd_net, images, qconfig(2, 2)).plan
    bits = {name: layer.weight_bits for name, layer in plan.layers.items()}
    assert bits == {"stem": 8, "depthwise": 2, "grouped": 2, "head": 8}


def test_sums_and_pools_keep_eight_bits(odd_net, images):
    """Only inputs of conv and linear layers are narrow; the operands of a sum cost nothing."""
    graph_module = prepare(odd_net, images, qconfig(2, 2)).graph_module
    levels = [q.quant_max for _, q in activation_quantizers(graph_module)]
    assert levels.count(3) == 1  # the pooled stem, read by both convolutions
    assert set(levels) == {3, 255}


def test_layer_rules_override_bits_and_skip(odd_net, images):
    rules = [LayerRule(match="dep*", weight_bits=4), LayerRule(match="grouped", skip=True)]
    plan = prepare(odd_net, images, qconfig(8, 8, layers=rules)).plan
    assert plan.layers["depthwise"].weight_bits == 4
    assert "grouped" not in plan.layers
    assert plan.skipped == ["grouped"]


def test_a_layer_rule_sets_the_granularity_of_one_layer(odd_net, images):
    """Its batch norm is folded before training, as one scale has no room for a factor a channel."""
    rules = [LayerRule(match="grouped", granularity=Granularity.per_tensor)]
    config = qconfig(4, 4, layers=rules)
    prepared = prepare(odd_net, images, config)
    scales = [q.scale.numel() for q, _ in weight_quantizers(prepared.graph_module)]
    assert scales == [8, 8, 1, 5]
    assert sum(isinstance(m, BatchNorm) for m in prepared.graph_module.modules()) == 2
    folded, _ = fold(trained(odd_net, images, config))
    with torch.no_grad():
        assert torch.equal(convert(folded)(images), folded(images))


def test_fusions_are_counted_and_those_that_are_missed_are_named(odd_net, images):
    found = summary(prepare(odd_net, images, qconfig()).plan)
    assert found["fusions"] == {
        "batch_norm": {"fused": 3, "missed": ()},
        "relu": {"fused": 3, "missed": ()},
    }
    assert found["layers"]["stem"] == {
        "weight_bits": 8,
        "activation_bits": 8,
        "granularity": "per_channel",
    }
    skipped = qconfig(layers=[LayerRule(match="stem", skip=True)])
    fusions = prepare(odd_net, images, skipped).plan.fusions
    assert fusions["relu"].fused == 2
    assert fusions["relu"].missed == ("relu_",)


def test_a_skipped_layer_stays_in_float_and_says_what_else_does(odd_net, images, tmp_path):
    """Between quantized tensors, ONNX Runtime would quantize a skipped layer by itself."""
    config = qconfig(layers=[LayerRule(match="grouped", skip=True)])
    plan = prepare(odd_net, images, config).plan
    assert plan.warnings[0].startswith("the output of the skipped layer grouped stays in float")
    path = tmp_path / "model.onnx"
    expected = exported(odd_net, images, config, path)
    description = onnxruntime.describe(path, images[:1])
    assert description.ops_int["QLinearConv"] == 2
    assert sum("Conv" in name for name in description.ops_float) == 1
    output = onnxruntime.load(path, threads=1, optimize=False)(images)
    assert float(((output - expected).abs() > 1e-4).float().mean()) <= 0.05


class Small(nn.Module):
    """A convolution, then whatever a test wants to know about, then a linear layer."""

    def __init__(self, middle) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)
        self.middle = middle

    def forward(self, x):
        x = self.middle(torch.relu(self.conv(x)), torch.relu(self.other(x)))
        return self.fc(x.mean([2, 3]))


def test_a_difference_of_positive_tensors_is_not_taken_for_positive(images):
    model = Small(torch.sub).eval()
    graph_module = prepare(model, images, qconfig()).graph_module
    calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())
    with torch.no_grad():
        gap = (graph_module(images) - model(images)).abs().max()
        assert float(gap) < 0.05 * float(model(images).abs().max())


def test_average_pools_are_deployed_as_they_were_trained(images, tmp_path):
    model = Small(lambda a, b: nn.functional.avg_pool2d(a + b, 3, 2)).eval()
    path = tmp_path / "model.onnx"
    expected = exported(model, images, qconfig(), path)
    gap = (onnxruntime.load(path, threads=1)(images) - expected).abs().max()
    assert float(gap) < 0.05 * float(expected.abs().max())


def test_average_pools_with_ceil_mode_are_warned_about(images):
    """ONNX Runtime's integer kernel counts other windows than PyTorch there."""
    model = Small(lambda a, b: nn.functional.avg_pool2d(a + b, 3, 2, ceil_mode=True)).eval()
    (warning,) = prepare(model, images, qconfig()).plan.warnings
    assert "average pool with ceil_mode" in warning


class Odd(nn.Module):
    """Layers that multiply and accumulate beside the ones that are quantized."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2)
        self.kind = kind

    def forward(self, x):
        x = self.conv(x)
        if self.kind == "transposed":
            return self.up(x).mean([2, 3])
        if self.kind == "computed":
            return nn.functional.conv2d(x, self.conv.weight[:, :1].repeat(1, 4, 1, 1)).mean([2, 3])
        return torch.matmul(x.flatten(2), x.flatten(2).transpose(1, 2)).mean(2)


@pytest.mark.parametrize(
    ("kind", "warning"),
    [
        ("transposed", "up stays in float: conv_transpose2d is not quantized"),
        ("computed", "stays in float: its weight is computed, no parameter"),
        ("product", "matmul stays in float: matmul is not quantized"),
    ],
)
def test_layers_without_an_integer_form_are_warned_about(images, kind, warning):
    """They would be found only in the share of MACs that runs in integers."""
    warnings = prepare(Odd(kind).eval(), images, qconfig()).plan.warnings
    assert any(warning in item for item in warnings)


def test_a_layer_that_is_called_twice_is_refused(images):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.conv(self.conv(x)).flatten(1)

    with pytest.raises(QuantizationError, match="called more than once"):
        prepare(Twice().eval(), images, qconfig())


def test_batch_norm_behind_a_quantized_tensor_becomes_an_affine(images):
    """DenseNet's order: the batch norm follows a concatenation or another quantized tensor."""

    class Behind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.second, self.fc = nn.Conv2d(4, 4, 3), nn.Linear(4, 5)

        def forward(self, x):
            x = self.first(x)
            x = x + self.second(nn.functional.pad(torch.relu(self.bn(x)), (1, 1, 1, 1)))
            return self.fc(x.mean([2, 3]))

    folded, report = fold(trained(Behind().eval(), images, qconfig()))
    assert report.unfolded == ("bn",)
    with torch.no_grad():
        assert torch.equal(convert(folded)(images), folded(images))


def test_a_pattern_that_matches_nothing_lists_close_names(odd_net, images):
    rules = [LayerRule(match="depthwize", weight_bits=4)]
    with pytest.raises(QuantizationError, match=r"'depthwize' matches no conv.*depthwise"):
        prepare(odd_net, images, qconfig(layers=rules))


def test_one_tensor_read_at_different_bits_gets_the_larger_and_a_warning(odd_net, images, caplog):
    rules = [LayerRule(match="grouped", activation_bits=8)]
    plan = prepare(odd_net, images, qconfig(8, 4, layers=rules)).plan
    assert "4 bits (depthwise) and 8 bits (grouped)" in plan.warnings[0]
    assert plan.warnings[0] in caplog.text


def test_a_model_without_layers_is_refused(images):
    with pytest.raises(QuantizationError, match="no conv or linear layer"):
        prepare(nn.Flatten(1), images, qconfig())


def test_relu_is_absorbed_by_the_quantizer(odd_net, images):
    graph_module = prepare(odd_net, images, qconfig()).graph_module
    targets = {str(node.target) for node in graph_module.graph.nodes}
    assert not targets & {"aten.relu.default", "aten.hardtanh.default", "aten.relu6.default"}


@QUANTIZERS
def test_checkpoint_reloads_exactly(odd_net, images, quantizer):
    """Into a freshly prepared model, strictly, and it goes on training as the first one would."""
    config = qconfig(4, 4, quantizer=quantizer)
    model = trained(odd_net, images, config)
    again = prepare(odd_net, images, config).graph_module.eval()
    again.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    for each in (model, again):
        train_(each, images, steps=2)
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items()
    )


@QUANTIZERS
def test_what_the_optimizers_last_step_left_is_settled_before_folding(odd_net, images, quantizer):
    """A model may be folded right after a step, without a forward pass in between."""
    model = trained(odd_net, images, qconfig(4, 4, quantizer=quantizer))
    train_(model, images, steps=1, lr=0.1)
    folded, _ = fold(model)
    model.eval()(images)
    again, _ = fold(model)
    with torch.no_grad():
        assert torch.equal(folded(images), again(images))


@QUANTIZERS
def test_folding_keeps_the_codes_of_every_quantizer(odd_net, images, quantizer):
    lift_zero_gammas_(odd_net)
    prepared = trained(odd_net, images, qconfig(4, 4, quantizer=quantizer))
    assert same_codes(prepared, fold(prepared)[0])


@QUANTIZERS
def test_runtime_follows_every_quantizer(odd_net, images, tmp_path, quantizer):
    path = tmp_path / "model.onnx"
    expected = exported(odd_net, images, qconfig(4, 8, quantizer=quantizer), path)
    output = onnxruntime.load(path, threads=1, optimize=False)(images)
    # A tie may fall to the neighbouring code, as above.
    assert float(((output - expected).abs() > 1e-4).float().mean()) <= 0.05


def test_learned_scales_are_told_apart_from_weights(odd_net, images):
    graph_module = prepare(odd_net, images, qconfig()).graph_module
    quantizers = [
        m
        for m in graph_module.modules()
        if isinstance(m, ActivationFakeQuantize | WeightFakeQuantize)
    ]
    offsets = [m for m in quantizers if getattr(m, "offset", None) is not None]
    assert len(offsets) == 3  # the input, the sum's left operand and the logits' input are signed
    assert len(quantization_parameters(graph_module)) == len(quantizers) + len(offsets)
    assert parameter_count(graph_module) == parameter_count(odd_net)


def test_ideal_bytes_count_packed_weights(odd_net, images):
    config = qconfig(4, 8, first_last_bits=None)
    graph_module = prepare(odd_net, images, config).graph_module
    weights = sum(w.numel() for _, w in weight_quantizers(graph_module))
    rest = parameter_count(odd_net) - weights
    assert ideal_bytes(graph_module) == 4 * rest + weights // 2
    assert ideal_bytes(odd_net) == 4 * parameter_count(odd_net)


@pytest.mark.parametrize("method", list(CalibrationMethod), ids=lambda method: method.name)
def test_every_calibration_method_gives_usable_ranges(odd_net, images, method):
    config = qconfig(calibration=CalibrationConfig(method=method))
    graph_module = prepare(odd_net, images, config).graph_module
    calibrate_(graph_module, lambda: iter(images.split(8)), config.calibration)
    with torch.no_grad():
        error = (graph_module(images) - odd_net(images)).abs().max()
        assert float(error) < 0.3 * float(odd_net(images).abs().max())


def calibrated_input(method, values, **options):
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(values.shape[1], 2)

        def forward(self, x):
            return self.fc(x)

    config = qconfig(8, 4, first_last_bits=None)
    config.calibration = CalibrationConfig(method=method, **options)
    graph_module = prepare(Head().eval(), values, config).graph_module
    calibrate_(graph_module, lambda: iter(values.split(len(values) // 4)), config.calibration)
    _, quantizer = next(iter(activation_quantizers(graph_module)))
    return float(quantizer.scale.detach()) * 15


def test_calibration_methods_treat_an_outlier_as_they_should():
    """minmax spans it, the others cut it off in favour of the many small values."""
    values = torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))
    values[0, 0] = 100.0
    spans = {
        method: calibrated_input(method, values, percentile=99.9) for method in CalibrationMethod
    }
    assert spans[CalibrationMethod.minmax] > 100.0
    assert spans[CalibrationMethod.moving_average] < spans[CalibrationMethod.minmax]
    for method in (
        CalibrationMethod.percentile,
        CalibrationMethod.mse,
        CalibrationMethod.histogram,
    ):
        assert spans[method] < 30.0, method
    assert spans[CalibrationMethod.percentile] == pytest.approx(2 * 3.3, rel=0.15)


def test_calibration_without_images_is_refused(odd_net, images):
    graph_module = prepare(odd_net, images, qconfig()).graph_module
    with pytest.raises(QuantizationError, match="no calibration images"):
        calibrate_(graph_module, lambda: iter([]), CalibrationConfig())


def test_calibration_refuses_a_broken_model(odd_net, images):
    odd_net.stem.weight.data.fill_(float("nan"))
    graph_module = prepare(odd_net, images, qconfig()).graph_module
    with pytest.raises(QuantizationError, match="not finite"):
        calibrate_(graph_module, lambda: iter([images]), CalibrationConfig())


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits"), [(4, None), (None, 4)], ids=["weights", "activations"]
)
def test_weights_or_activations_alone_are_quantized_and_deployed_so(
    odd_net, images, tmp_path, weight_bits, activation_bits
):
    """Between Q and DQ, ONNX Runtime would quantize float weights by itself."""
    config = qconfig(weight_bits, activation_bits, first_last_bits=None)
    model = trained(odd_net, images, config)
    assert bool(list(weight_quantizers(model))) == (weight_bits is not None)
    assert bool(list(activation_quantizers(model))) == (activation_bits is not None)
    folded, _ = fold(model)
    converted = convert(folded, float_weights=weight_bits is None)
    path = tmp_path / "model.onnx"
    onnxruntime.export(converted, images[:2], path, ExportConfig())
    with torch.no_grad():
        expected = converted(images)
        assert torch.equal(expected, folded(images))
    output = onnxruntime.load(path, threads=1)(images)
    # Float convolutions of two libraries, which may move a code at a tie.
    assert float(((output - expected).abs() > 1e-4).float().mean()) <= 0.05
    assert onnxruntime.describe(path, images).macs_int_share == 0.0


@pytest.mark.parametrize("tokens", [6, 8], ids=["fewer than features", "as many as features"])
def test_batch_norm_over_tokens_is_not_folded_into_features(tokens, tmp_path):
    """It scales dimension 1, and a linear layer's outputs are the last dimension."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(5, 8), nn.BatchNorm1d(tokens)
            self.head = nn.Linear(8 * tokens, 3)

        def forward(self, x):
            return self.head(self.norm(self.linear(x)).flatten(1))

    torch.manual_seed(0)
    model = Tokens().eval()
    with torch.no_grad():
        model.norm.weight.uniform_(0.2, 3.0)
    x = torch.randn(32, tokens, 5)
    prepared = prepare(model, x, qconfig(8, 8))
    calibrate_(prepared.graph_module, lambda: iter([x]), CalibrationConfig())
    assert prepared.plan.fusions["batch_norm"].fused == 0
    folded, report = fold(prepared.graph_module)
    assert report.unfolded == ("norm",)
    wanted = model(x)
    error = (folded(x) - wanted).norm() / wanted.norm()
    assert float(error.detach()) < 0.05  # 8-bit rounding alone: 1 to 2 %
