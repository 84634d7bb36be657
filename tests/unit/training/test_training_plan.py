import re

import pytest
import torch
from torch import nn

from qatexp.config.schema import Decay, Fp32Schedule, QatSchedule, ScheduleConfig, Select
from qatexp.errors import ConfigError
from qatexp.training.plan import TrainPlan, build_optimizer, plan_of

SGD = {"_target_": "torch.optim.SGD"}


def plan(**changes):
    values = {
        "epochs": 4,
        "lr": 0.8,
        "momentum": 0.9,
        "weight_decay": 0.01,
        "warmup_epochs": 0,
        "decay": Decay.constant,
        "label_smoothing": 0.0,
        "select": Select.last,
        "optimizer": SGD,
    }
    return TrainPlan(**{**values, **changes})


def rates(steps_per_epoch, **changes):
    made = plan(**changes)
    return [made.rate(step, steps_per_epoch) for step in range(made.epochs * steps_per_epoch)]


def test_a_constant_rate_is_the_peak():
    assert rates(2, decay=Decay.constant) == [0.8] * 8


def test_a_linear_rate_falls_in_equal_steps_to_just_above_zero():
    assert rates(2, decay=Decay.linear) == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_cosine_rate_is_the_peak_first_and_half_of_it_half_way():
    found = rates(2, decay=Decay.cosine)
    assert found[0] == 0.8
    assert found[4] == pytest.approx(0.4)
    assert found == sorted(found, reverse=True)
    assert 0 < found[-1] < 0.04


@pytest.mark.parametrize("decay", list(Decay), ids=lambda decay: decay.name)
def test_a_warm_up_rises_to_the_peak_and_decay_starts_from_it(decay):
    found = rates(4, warmup_epochs=1, decay=decay)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    assert max(found) == 0.8


def test_a_short_decay_falls_in_the_last_epochs_alone():
    found = rates(4, epochs=5, decay=Decay.short, decay_epochs=2)
    assert found[:13] == [0.8] * 13
    assert found[12:] == rates(4, epochs=2, decay=Decay.cosine)


@pytest.mark.parametrize("warmup", [0, 0.3, 2.5])
def test_before_a_short_decay_nothing_depends_on_the_number_of_epochs(warmup):
    changes = {"decay": Decay.short, "decay_epochs": 2, "warmup_epochs": warmup}
    short, long = (plan(epochs=epochs, **changes) for epochs in (4, 9))
    assert (short.stem_epochs, long.stem_epochs) == (2, 7)
    for step in range(2 * 5):
        assert short.rate(step, 5) == long.rate(step, 5)
        assert short.share(step, 5) == long.share(step, 5) == 0
    assert [short.share(step, 5) for step in range(10, 20)] == [step / 10 for step in range(10)]


def test_a_training_shorter_than_its_decay_is_all_decay():
    assert plan(decay=Decay.short, decay_epochs=9, epochs=2).stem_epochs == 0
    found = rates(4, epochs=2, decay=Decay.short, decay_epochs=9)
    assert found == rates(4, epochs=2, decay=Decay.cosine)


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.5, 0.9, 1.5, 3.7])
def test_a_warm_up_that_ends_within_a_step_does_not_overshoot(warmup):
    found = rates(3, warmup_epochs=warmup, decay=Decay.cosine)
    assert max(found) <= 0.8
    assert min(found) > 0


def test_a_warm_up_longer_than_the_training_rises_to_its_end():
    assert rates(1, epochs=2, warmup_epochs=9) == pytest.approx([0.4, 0.8])


@pytest.mark.parametrize("decay", list(Decay), ids=lambda decay: decay.name)
def test_no_epochs_have_a_finite_rate(decay):
    assert plan(epochs=0, decay=decay).rate(0, 10) == 0.8


def test_a_single_step_trains_at_the_peak():
    assert rates(1, epochs=1, decay=Decay.cosine) == [0.8]


@pytest.mark.parametrize("part", [Fp32Schedule, QatSchedule], ids=["fp32", "qat"])
def test_a_plan_takes_over_every_key_of_its_schedule(part):
    made = plan_of(
        part(
            epochs=3,
            momentum=None,
            weight_decay=0.02,
            warmup_epochs=0.5,
            decay=Decay.linear,
            decay_epochs=2,
            label_smoothing=0.1,
            select=Select.best,
        ),
        ScheduleConfig(optimizer={"_target_": "torch.optim.Adam", "eps": 1e-6}),
        lr=0.7,
        limit_batches=5,
    )
    assert made == TrainPlan(
        epochs=3,
        lr=0.7,
        momentum=None,
        weight_decay=0.02,
        warmup_epochs=0.5,
        decay=Decay.linear,
        decay_epochs=2,
        label_smoothing=0.1,
        select=Select.best,
        optimizer={"_target_": "torch.optim.Adam", "eps": 1e-6},
        limit_batches=5,
    )


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def test_an_optimizer_gets_the_numbers_of_its_plan(model):
    optimizer = build_optimizer(plan(), model)
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.8, 0.9, 0.01)
    assert group["params"] == list(model.parameters())


def test_scales_are_trained_once_with_a_rate_and_a_decay_of_their_own(model):
    bias = model[0].bias
    own = plan(scale_lr=0.5, scale_weight_decay=0.02)
    decayed, undecayed = build_optimizer(own, model, scales=[bias]).param_groups
    assert [id(p) for p in undecayed["params"]] == [id(bias)]
    assert (undecayed["weight_decay"], undecayed["lr_factor"]) == (0.02, 0.5)
    assert decayed["lr_factor"] == 1
    assert (undecayed["lr"], undecayed["momentum"]) == (0.8, 0.9)
    assert decayed["weight_decay"] == 0.01
    assert id(bias) not in {id(p) for p in decayed["params"]}
    assert len(decayed["params"]) == 3


def test_frozen_parameters_are_left_out(model):
    model[0].requires_grad_(False)
    (group,) = build_optimizer(plan(), model).param_groups
    assert group["params"] == list(model[1].parameters())


def test_null_momentum_leaves_the_optimizers_own(model):
    (group,) = build_optimizer(plan(momentum=None), model).param_groups
    assert group["momentum"] == 0


def test_zero_momentum_is_a_value(model):
    target = {"_target_": "torch.optim.RMSprop"}
    assert build_optimizer(plan(momentum=0.0, optimizer=target), model).defaults["momentum"] == 0
    with pytest.raises(ConfigError, match=r"^schedule\.\*\.momentum=0\.0: "):
        build_optimizer(plan(momentum=0.0, optimizer={"_target_": "torch.optim.Adagrad"}), model)


def test_momentum_is_beta1_of_adam_and_its_kin(model):
    adam = {"_target_": "torch.optim.AdamW", "eps": 1e-6}
    (group,) = build_optimizer(plan(momentum=0.8, optimizer=adam), model).param_groups
    assert group["betas"] == (0.8, 0.999)
    assert group["eps"] == 1e-6


def error(plan, model):
    with pytest.raises(ConfigError) as problem:
        build_optimizer(plan, model)
    return str(problem.value)


def test_an_optimizer_without_momentum_says_how_to_switch_it_off(model):
    target = "torch.optim.Adagrad"
    assert error(plan(optimizer={"_target_": target}), model) == (
        "schedule.*.momentum=0.9: torch.optim.Adagrad takes no momentum; set "
        "schedule.fp32.momentum and schedule.qat.momentum to null."
    )
    assert build_optimizer(plan(momentum=None, optimizer={"_target_": target}), model)


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        pytest.param(
            {"_target_": "torch.optim.SGD", "epsilon": 1},
            "unexpected keyword argument 'epsilon'",
            id="unknown argument",
        ),
        pytest.param(
            {"_target_": "torch.optim.SGD", "nesterov": True, "dampening": 1},
            "Nesterov momentum requires",
            id="arguments that exclude each other",
        ),
        pytest.param(
            {"_target_": "torch.optim.SGD", "lr": 1},
            "multiple values for keyword argument 'lr'",
            id="argument of the schedule",
        ),
    ],
)
def test_arguments_that_the_optimizer_refuses_are_quoted(model, optimizer, text):
    message = error(plan(optimizer=optimizer), model)
    assert message.startswith(f"schedule.optimizer={optimizer}: ")
    assert re.search(text, message)


def test_a_target_that_is_no_optimizer_is_named(model):
    target = {"_target_": "torch.optim.Nothing"}
    assert error(plan(optimizer=target), model) == (
        "schedule.optimizer._target_=torch.optim.Nothing: torch.optim has no 'Nothing'."
    )


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        pytest.param({"_target_": "torch.optim.SGD", "momentum": 0.5}, "momentum", id="momentum"),
        pytest.param({"_target_": "torch.optim.Adam", "betas": (0.9, 0.95)}, "betas", id="betas"),
    ],
)
def test_an_argument_that_the_schedule_sets_too_is_refused(model, optimizer, name):
    """Taking either would drop the other one silently."""
    message = error(plan(optimizer=optimizer), model)
    assert message.startswith(
        f"schedule.optimizer.{name}={optimizer[name]} and schedule.*.momentum"
    )
    group = build_optimizer(plan(momentum=None, optimizer=optimizer), model).param_groups[0]
    assert group[name] == optimizer[name]


def test_a_callable_that_makes_no_optimizer_is_named(model, tmp_path, monkeypatch):
    (tmp_path / "their_optimizer.py").write_text("def build(*_, **__):\n    return 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong = plan(momentum=None, optimizer={"_target_": "their_optimizer.build"})
    with pytest.raises(ConfigError) as problem:
        build_optimizer(wrong, model, trusted=["their_optimizer"])
    assert str(problem.value) == (
        "schedule.optimizer._target_=their_optimizer.build does not make an optimizer."
    )
