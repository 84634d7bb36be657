"""Which settings tell trials apart, and how short they can be said."""

import pytest

from qatexp.results.trials import deployable, followers, knobs, label, value_text, varying_keys

LR, EPOCHS = "schedule.qat.lr_scale", "schedule.qat.epochs"


def names(records):
    return [knob.name for knob in knobs(records)]


def test_only_what_differs_is_named_and_the_three_keys_of_bits_are_one(make_trial):
    trials = [
        make_trial(bits=4, **{LR: 0.1, EPOCHS: 6}),
        make_trial(bits=8, **{LR: 0.1, EPOCHS: 2}),
    ]
    assert names(trials) == ["bits", "epochs"]
    assert varying_keys(trials) == [
        "qconfig.bits",
        "qconfig.weight.bits",
        "qconfig.activation.bits",
        EPOCHS,
    ]


def test_a_label_says_bits_learning_rate_and_epochs_in_words_of_their_own(make_trial):
    trials = [
        make_trial(bits=4, **{LR: 0.1, EPOCHS: 6, "seed": 0}),
        make_trial(bits=8, **{LR: 0.5, EPOCHS: 2, "seed": 1}),
    ]
    assert label(trials[0], knobs(trials)) == (
        "W4A4 \N{MIDDLE DOT} lr\N{MULTIPLICATION SIGN}0.1 \N{MIDDLE DOT} 6 ep \N{MIDDLE DOT} seed 0"
    )


def test_text_needs_no_name_in_a_label(make_trial):
    key = "qconfig.quantizer"
    trials = [make_trial(**{key: "lsq"}), make_trial(**{key: "minmax_ema"})]
    assert label(trials[1], knobs(trials)) == "minmax_ema"


def test_trials_without_differences_are_called_by_their_experiment(make_trial):
    trials = [make_trial(), make_trial()]
    assert label(trials[0], knobs(trials)) == "cifar_resnet20-cifar10"


def test_mixed_bits_are_written_for_weights_and_activations(make_trial):
    mixed = make_trial(**{"qconfig.bits": "w4a8", "qconfig.weight.bits": 4})
    assert [knob.text(mixed) for knob in knobs([make_trial(), mixed])] == ["W4A8"]


def test_paths_are_called_by_as_many_parts_as_it_takes(make_trial):
    roots = ["/data/clean/images", "/data/noisy/images"]
    trials = [make_trial(**{"dataset.root": root}) for root in roots]
    assert [knobs(trials)[0].text(trial) for trial in trials] == ["clean/images", "noisy/images"]
    trials = [make_trial(**{"dataset.root": root}) for root in ("/data/clean", None)]
    assert [knobs(trials)[0].text(trial) for trial in trials] == ["clean", "null"]


def test_a_target_is_named_where_its_short_name_does_not_tell_trials_apart(make_trial):
    def trials(*targets):
        return [make_trial(**{"model": t.split(".")[-1], "model._target_": t}) for t in targets]

    assert varying_keys(trials("a.Net", "a.Other")) == ["model"]
    assert varying_keys(trials("a.Net", "b.Net")) == ["model._target_"]
    assert varying_keys(trials("a.Net", "b.Net", "b.Other")) == ["model", "model._target_"]


def test_short_names_take_as_many_parts_as_it_takes(make_trial):
    keys = {"schedule.fp32.epochs": 1, "schedule.qat.epochs": 1, "seed": 0}
    trials = [make_trial(**keys), make_trial(**{key: value + 1 for key, value in keys.items()})]
    assert names(trials) == ["fp32.epochs", "qat.epochs", "seed"]


def test_what_follows_from_the_model_is_not_told_again(make_trial):
    lr = "schedule.fp32.lr"
    trials = [
        make_trial(model="a", bits=8, **{lr: 0.1, LR: 0.1, "seed": 0}),
        make_trial(model="b", bits=4, **{lr: 0.5, LR: 0.5, "seed": 1}),
    ]
    assert followers(trials) == {"model": [lr]}
    assert names(trials) == ["model", "bits", "lr_scale", "seed"]
    trials.append(make_trial(model="b", bits=4, **{lr: 0.1, LR: 0.5, "seed": 1}))
    assert followers(trials) == {}
    assert "lr" in names(trials)


def test_a_setting_that_a_trial_lacks_is_not_the_same_as_null(make_trial):
    key = "qconfig.first_last_bits"
    trials = [make_trial(**{key: 8}), make_trial(**{key: None}), make_trial()]
    (knob,) = knobs(trials)
    assert [knob.text(trial) for trial in trials] == ["8", "null", "-"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("/data/models/best.pt", "best.pt", id="path-by-its-last-part"),
        pytest.param(5e-4, "0.0005", id="float"),
        pytest.param(True, "true", id="bool-as-in-yaml"),
        pytest.param([1, 2], "[1, 2]", id="list"),
        pytest.param("x" * 40, "x" * 23 + "\N{HORIZONTAL ELLIPSIS}", id="long-text-is-cut"),
    ],
)
def test_values_are_short(value, text):
    assert value_text(value) == text


def test_what_would_be_deployed_is_qat_else_ptq_else_nothing(make_trial):
    both, no_qat, neither = make_trial(), make_trial(qat=None), make_trial(qat=None, ptq=None)
    assert deployable(both) is both.variants["qat"]
    assert deployable(no_qat) is no_qat.variants["ptq"]
    assert deployable(neither) is None
