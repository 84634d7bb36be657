import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from qatexp.cli.compose import VERSION_BASE
from qatexp.cli.resolvers import register_resolvers
from qatexp.config.parse import flat_params, parse, plain_config
from qatexp.config.schema import Backend, Decay
from qatexp.config.sources import CONF, CONFIG_NAME
from qatexp.errors import ConfigError


@pytest.fixture(scope="module")
def default():
    """What Hydra composes without overrides; composing anew for each test takes a minute."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        return compose(CONFIG_NAME)


@pytest.fixture
def changed(default):
    """Change values of the default configuration, given as on the command line."""

    def change(*overrides):
        with open_dict(default):
            return OmegaConf.merge(default, OmegaConf.from_dotlist(list(overrides)))

    return change


THREADS = "allowed: a whole number from 1, or a list of such numbers."


@pytest.mark.parametrize(
    ("override", "text"),
    [
        pytest.param(
            "qconfig.bits=abc",
            "qconfig.bits: Value 'abc' of type 'str' could not be converted to Integer; "
            "allowed: 2 to 8.",
            id="type",
        ),
        pytest.param(
            "schedule.fp32.epochs=1.5",
            "schedule.fp32.epochs: Value '1.5' of type 'float' could not be converted to Integer; "
            "allowed: at least 0.",
            id="whole number",
        ),
        pytest.param(
            "seed=null",
            "seed=null is not possible; allowed: at least 0; leave it out for its default.",
            id="null",
        ),
        pytest.param(
            "qconfig.bits=null",
            "qconfig.bits=null is not possible; allowed: 2 to 8; qconfig.weight.bits=null or "
            "qconfig.activation.bits=null leave one of them in float.",
            id="null for both bits",
        ),
        pytest.param(
            "qconfig.quantizer=null",
            "qconfig.quantizer=null is not possible; allowed: lsq, minmax_ema, pact, dorefa; leave "
            "it out for its default.",
            id="null for a name",
        ),
        pytest.param(
            "qconfig.weight.bits=x",
            "qconfig.weight.bits: Value 'x' of type 'str' could not be converted to Integer; "
            "allowed: 2 to 8, or null.",
            id="a key that may be null",
        ),
        pytest.param(
            "schedule.control=x",
            "schedule.control: Value 'x' is not a valid bool (type str); allowed: true, false.",
            id="neither true nor false",
        ),
        pytest.param(
            "qconfig.layers=fc",
            "qconfig.layers: the value is no list; allowed: a list, qconfig.layers=[{match: ..., "
            "weight_bits: ..., activation_bits: ..., granularity: ..., skip: ...}].",
            id="one value for a list of rules",
        ),
        pytest.param(
            "measure.batch_sizes=[a]",
            "measure.batch_sizes[0]: Value 'a' of type 'str' could not be converted to Integer; "
            "allowed: a list, measure.batch_sizes=[...].",
            id="a member of a list",
        ),
        pytest.param(
            "qconfig.bits=9", "qconfig.bits=9 is not possible; allowed: 2 to 8.", id="range"
        ),
        pytest.param(
            "qconfig.weight.bits=1",
            "qconfig.weight.bits=1 is not possible; allowed: 2 to 8.",
            id="range below a branch",
        ),
        pytest.param(
            "schedule.qat.lr_scale=0",
            "schedule.qat.lr_scale=0.0 is not possible; allowed: above 0.0.",
            id="range without its end",
        ),
        pytest.param(
            "schedule.fp32.lr=nan",
            "schedule.fp32.lr=nan is not possible; allowed: above 0.0, and finite.",
            id="nan",
        ),
        pytest.param(
            "schedule.fp32.lr=inf",
            "schedule.fp32.lr=inf is not possible; allowed: above 0.0, and finite.",
            id="infinite",
        ),
        pytest.param("seed=-1", "seed=-1 is not possible; allowed: at least 0.", id="seed"),
        pytest.param(
            "qconfig.quantizer=lsqq",
            "qconfig.quantizer: Invalid value 'lsqq', expected one of "
            "[lsq, minmax_ema, pact, dorefa].",
            id="member of an enum",
        ),
        pytest.param(
            "qconfig.backend=litert",
            "qconfig.backend=litert is not supported by this version; "
            "allowed: onnxruntime, x86, fbgemm, xnnpack, qnnpack.",
            id="backend that is planned",
        ),
        pytest.param(
            "qconfig.layers=[{match: fc}]",
            "qconfig.layers[0] (match=fc) changes nothing; give weight_bits, activation_bits, "
            "granularity or skip=true.",
            id="rule without effect",
        ),
        pytest.param(
            "qconfig.layers=[{match: a, skip: true}, {match: b, weight_bits: 9}]",
            "qconfig.layers[1].weight_bits=9 is not possible; allowed: 2 to 8.",
            id="range in a list",
        ),
        pytest.param(
            "target.max_drops=1",
            "target.max_drops is not a key of the configuration; allowed in target: max_drop, "
            "epochs; did you mean max_drop?",
            id="misspelt key",
        ),
        pytest.param(
            "schedule.qat=3",
            "schedule.qat=3 is not possible: it has keys of its own, as in schedule.qat.epochs=...",
            id="value for a branch",
        ),
        pytest.param(
            "qconfig.layers=[{match: fc, bits: 4}]",
            "qconfig.layers[0].bits is not a key of the configuration; "
            "allowed in qconfig.layers[0]: match, weight_bits, activation_bits, granularity, skip.",
            id="unknown key in a list",
        ),
        pytest.param(
            "qconfig.auto={budget: bytes}",
            "qconfig.auto.budget: Invalid value 'bytes', expected one of [size_bytes, bops].",
            id="unknown budget",
        ),
        pytest.param(
            "qconfig.auto={budget: bops}",
            "qconfig.auto.budget=bops needs one of qconfig.auto.target (a number) and "
            "qconfig.auto.target_bits (as much as uniform bits need); 0 are set.",
            id="budget without target",
        ),
        pytest.param(
            "qconfig.auto={budget: size_bytes, target: 1000, target_bits: 4}",
            "qconfig.auto.budget=size_bytes needs one of qconfig.auto.target (a number) and "
            "qconfig.auto.target_bits (as much as uniform bits need); 2 are set.",
            id="budget with two targets",
        ),
        pytest.param(
            "qconfig.auto.target_bits=4",
            "qconfig.auto.target_bits=4 needs a budget; set qconfig.auto.budget to size_bytes or "
            "bops.",
            id="target without budget",
        ),
        pytest.param(
            "qconfig.auto.target=0",
            "qconfig.auto.target=0.0 is not possible; allowed: above 0.0.",
            id="target",
        ),
        pytest.param(
            "qconfig.auto.target_bits=9",
            "qconfig.auto.target_bits=9 is not possible; allowed: 2 to 8.",
            id="bits of a target",
        ),
        pytest.param(
            "qconfig.auto.choices=[1, 4]",
            "qconfig.auto.choices=[1, 4] is not possible; allowed: 2 to 8.",
            id="range of choices",
        ),
        pytest.param(
            "qconfig.auto.choices=[8, 4]",
            "qconfig.auto.choices=[8, 4] is not possible; allowed: different bits in rising order.",
            id="order of choices",
        ),
        pytest.param(
            "qconfig.auto.batches=0",
            "qconfig.auto.batches=0 is not possible; allowed: at least 1.",
            id="batches",
        ),
        pytest.param(
            "model._target_=os.system",
            "model._target_=os.system is not of a trusted package; "
            "allowed: qatexp, torch, torchvision, timm. "
            "If you trust it, add trusted_packages=[os].",
            id="untrusted model",
        ),
        pytest.param(
            "dataset._target_=os.listdir",
            "dataset._target_=os.listdir is not of a trusted package; "
            "allowed: qatexp, torch, torchvision, timm. "
            "If you trust it, add trusted_packages=[os].",
            id="untrusted data set",
        ),
        pytest.param(
            "schedule.optimizer._target_=os.system",
            "schedule.optimizer._target_=os.system is not of a trusted package; "
            "allowed: qatexp, torch, torchvision, timm. "
            "If you trust it, add trusted_packages=[os].",
            id="untrusted optimizer",
        ),
        pytest.param(
            "device=gpu",
            "device=gpu is not possible; allowed: auto, cpu, cuda, cuda:NUMBER.",
            id="device",
        ),
        pytest.param(
            "trainer.precision=16",
            "trainer.precision=16 is not possible; allowed: 32-true, 16-mixed, bf16-mixed.",
            id="precision",
        ),
        pytest.param(
            "measure.batch_sizes=[]",
            "measure.batch_sizes=[] is not possible; allowed: a list with at least one member.",
            id="empty list",
        ),
        pytest.param(
            "dataset.std=[0.2,0]",
            "dataset.std=[0.2, 0.0] is not possible; allowed: finite numbers above 0.",
            id="std of zero",
        ),
        pytest.param(
            "dataset.std=[nan]",
            "dataset.std=[nan] is not possible; allowed: finite numbers above 0.",
            id="std of nan",
        ),
        pytest.param(
            "dataset.mean=[inf]",
            "dataset.mean=[inf] is not possible; allowed: finite numbers.",
            id="mean",
        ),
        pytest.param(
            "qconfig.bits=${nope}",
            "qconfig.bits: Interpolation key 'nope' not found.",
            id="interpolation",
        ),
    ],
)
def test_a_wrong_value_is_refused_in_words(changed, override, text):
    with pytest.raises(ConfigError) as problem:
        parse(changed(override))
    assert str(problem.value) == text


@pytest.mark.parametrize(
    ("override", "text"),
    [
        pytest.param(
            "~model._target_",
            "model={'checkpoint': None, 'pretrained': False}: a model needs the key _target_, "
            "a dotted name of a callable, or choose a member of the group with model=NAME.",
            id="no target",
        ),
        pytest.param(
            "model.checkpoint=???",
            "model.checkpoint: Missing mandatory value: checkpoint.",
            id="missing value",
        ),
        pytest.param(
            "model=null",
            "model=null: Config group override must be a string or a list. Got NoneType",
            id="no member",
        ),
        pytest.param(
            "qconfig.bits=8,4",
            "Ambiguous value for argument 'qconfig.bits=8,4'\n"
            "1. To use it as a list, use key=[value1,value2]\n"
            "2. To use it as string, quote the value: key='value1,value2'\n"
            "3. To sweep over it, add --multirun to your command line",
            id="sweep without -m",
        ),
    ],
)
def test_a_wrong_command_line_is_refused_in_words(points, override, text):
    with pytest.raises(ConfigError) as problem:
        points(override)
    assert str(problem.value) == text


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "true", "null", "[]", "[1,0]", "[1,a]"])
def test_threads_are_whole_numbers_from_one(changed, value):
    with pytest.raises(ConfigError, match=r"^measure\.threads=.* is not possible; ") as problem:
        parse(changed(f"measure.threads={value}"))
    assert str(problem.value).endswith(THREADS)


def test_a_batch_is_shared_evenly_between_devices(changed):
    with pytest.raises(ConfigError) as problem:
        parse(changed("trainer.devices=3", "dataset.batch_size=64"))
    assert str(problem.value) == (
        "dataset.batch_size=64 cannot be divided by trainer.devices=3; allowed: multiples of 3."
    )
    assert parse(changed("trainer.devices=3", "dataset.batch_size=66")).trainer.devices == 3


@pytest.mark.parametrize(
    ("value", "counts"),
    [pytest.param("3", [3], id="one"), pytest.param("[1,4]", [1, 4], id="several")],
)
def test_threads_are_one_number_or_several(changed, value, counts):
    assert parse(changed(f"measure.threads={value}")).measure.thread_counts == counts


def test_a_fixed_batch_cannot_be_measured_at_other_sizes(changed):
    with pytest.raises(ConfigError) as problem:
        parse(changed("export.dynamic_batch=false", "measure.batch_sizes=[1,8]"))
    assert str(problem.value) == (
        "measure.batch_sizes=[1, 8] is not possible with export.dynamic_batch=false, which fixes "
        "the batch to 1; allowed: [1], or set export.dynamic_batch=true."
    )
    assert not parse(changed("export.dynamic_batch=false")).export.dynamic_batch


def test_a_package_that_is_missing_is_named(changed):
    with pytest.raises(ConfigError, match="package 'no_such_package' cannot be found; install it"):
        parse(changed("model._target_=no_such_package.net", "trusted_packages=[no_such_package]"))


@pytest.mark.parametrize(
    "override", ["qconfig.extra=1", "+qconfig.extra=1", "++qconfig.extra=1"], ids=str
)
def test_an_extra_key_is_an_error_that_names_it_and_those_that_exist(points, override):
    with pytest.raises(ConfigError) as problem:
        points(override)
    assert str(problem.value) == (
        "qconfig.extra is not a key of the configuration; allowed in qconfig: bits, weight, "
        "activation, backend, quantizer, calibration, first_last_bits, layers, auto."
    )


@pytest.mark.parametrize("override", ["nope=1", "+nope=1", "+nope.deep=1"], ids=str)
def test_an_extra_key_at_the_top_is_an_error(points, override):
    with pytest.raises(ConfigError, match=r"^nope is not a key .* allowed at the top: name, model"):
        points(override)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        pytest.param(
            "shedule.qat.epochs=1",
            r"shedule is not a key .* allowed at the top: name, .*; did you mean schedule\?",
            id="branch",
        ),
        pytest.param(
            "schedule.qat.epochs.many=1",
            r"schedule\.qat\.epochs\.many is not possible: schedule\.qat\.epochs is one value, .*",
            id="value",
        ),
    ],
)
def test_a_key_of_what_is_no_branch_is_an_error(points, override, text):
    with pytest.raises(ConfigError) as problem:
        points(override)
    assert re.fullmatch(text, str(problem.value))


def test_an_argument_of_a_target_is_added_with_plus(points):
    with pytest.raises(ConfigError, match=r"To append to your config use \+model\.width=2"):
        points("model.width=2")
    assert points("+model.width=2")[0].model.options == {"width": 2}
    optimizer = points("+schedule.optimizer.nesterov=true")[0].schedule.optimizer
    assert optimizer == {"_target_": "torch.optim.SGD", "nesterov": True}


@pytest.mark.parametrize("group", ["model", "experiment", "sweep"])
def test_an_unknown_member_of_a_group_is_an_error(points, group):
    """Not even a group that is null by default ignores a misspelt name."""
    with pytest.raises(ConfigError, match=rf"^{group}=nope is not possible; allowed: \w+"):
        points(f"{group}=nope")


def test_a_group_lists_its_members_in_one_line(points):
    with pytest.raises(ConfigError) as problem:
        points("experiment=nope")
    assert str(problem.value) == (
        "experiment=nope is not possible; allowed: cifar10_resnet20, latency_224."
    )


def test_image_folders_need_a_root_and_cannot_be_downloaded(points):
    with pytest.raises(ConfigError) as problem:
        points("dataset=imagefolder")
    assert str(problem.value) == (
        "dataset.root is not set, and imagefolder needs it: a folder with train/<class>/ and "
        "test/<class>/ (or val/<class>/)."
    )
    with pytest.raises(ConfigError, match=r"name the folder that holds the images\.$"):
        points("dataset=imagefolder", "dataset.root=nope")


@pytest.mark.parametrize(
    ("folders", "missing"), [(["test", "x"], "train"), (["train", "x"], r"test \(or val\)")]
)
def test_the_layout_of_image_folders_is_checked_without_torch(points, tmp_path, folders, missing):
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(
        ConfigError, match=rf"^dataset.root={tmp_path} has no folder {missing}; expected train/"
    ):
        points("dataset=imagefolder", f"dataset.root={tmp_path}")


def test_a_checkpoint_has_to_exist(changed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as problem:
        parse(changed("model.checkpoint=weights.pt"))
    assert str(problem.value) == (
        f"model.checkpoint=weights.pt: there is no such file (looked in {tmp_path})."
    )


def test_a_checkpoint_is_a_file(changed, tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        parse(changed(f"model.checkpoint={tmp_path}"))


def test_a_checkpoint_and_pretrained_weights_exclude_each_other(changed, tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"")
    assert parse(changed(f"model.checkpoint={file}")).model.checkpoint == str(file)
    with pytest.raises(ConfigError, match=r"and model\.pretrained=true exclude each other; "):
        parse(changed(f"model.checkpoint={file}", "model.pretrained=true"))


def test_a_data_folder_has_to_exist(changed, tmp_path):
    with pytest.raises(ConfigError) as problem:
        parse(changed(f"dataset.root={tmp_path}/nope"))
    assert str(problem.value).startswith(
        f"dataset.root={tmp_path}/nope: there is no such folder (looked in "
    )
    assert "dataset.download=true" in str(problem.value)


def test_a_data_folder_may_be_missing_where_the_data_is_downloaded(changed, tmp_path):
    config = parse(changed(f"dataset.root={tmp_path}/nope", "dataset.download=true"))
    assert config.dataset.download


def test_a_data_folder_has_to_hold_something(changed, tmp_path):
    with pytest.raises(ConfigError, match=f"^dataset.root={tmp_path}: the folder is empty.$"):
        parse(changed(f"dataset.root={tmp_path}"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("a" * 300, "File name too long", id="too long"),
        pytest.param("~no_such_user/x", "Could not determine home directory.", id="home of nobody"),
    ],
)
@pytest.mark.parametrize("key", ["dataset.root", "model.checkpoint"])
def test_a_path_that_the_system_refuses_is_an_error_in_words(changed, key, path, reason):
    with pytest.raises(ConfigError, match=f"^{key}={path} cannot be read: {reason}$"):
        parse(changed(f"{key}={path}"))


@pytest.mark.parametrize("seed", [0, 7, 2**70])
def test_every_seed_is_a_value(changed, seed):
    """0 above all: a truthiness test would take it for "not set"."""
    assert parse(changed(f"seed={seed}")).seed == seed


def test_zero_epochs_are_a_value(changed):
    schedule = parse(changed("schedule.fp32.epochs=0", "schedule.qat.epochs=0")).schedule
    assert (schedule.fp32.epochs, schedule.qat.epochs) == (0, 0)


def test_bits_set_both_unless_one_is_given(changed):
    qconfig = parse(changed("qconfig.bits=4")).qconfig
    assert (qconfig.weight.bits, qconfig.activation.bits) == (4, 4)
    qconfig = parse(changed("qconfig.bits=4", "qconfig.activation.bits=8")).qconfig
    assert (qconfig.weight.bits, qconfig.activation.bits) == (4, 8)


def test_words_become_enums(changed):
    config = parse(changed("qconfig.backend=xnnpack", "schedule.fp32.decay=linear"))
    assert config.qconfig.backend is Backend.xnnpack
    assert config.schedule.fp32.decay is Decay.linear


def test_a_run_is_named_after_model_and_data_unless_it_has_a_name(points):
    assert points("model=resnet18", "dataset=synthetic")[0].name == "resnet18-synthetic"
    assert points("name=mine")[0].name == "mine"


def test_a_sweep_checks_every_point_before_any_runs(points):
    with pytest.raises(ConfigError, match=r"^qconfig\.bits=9 is not possible"):
        points("-m", "qconfig.bits=8,4,9")


def test_the_command_line_replaces_a_parameter_of_a_sweep_file(points):
    fixed = "schedule.qat.lr_scale=0.1", "schedule.qat.epochs=1"
    found = points("-m", "sweep=demo", "qconfig.bits=3,5", *fixed)
    assert [config.qconfig.bits for config in found] == [3, 5]


def test_files_of_sweeps_and_experiments_may_set_every_key(points, tmp_path):
    (tmp_path / "experiment").mkdir()
    lines = "# @package _global_", "seed: 7", "trainer:", "  precision: bf16-mixed"
    (tmp_path / "experiment" / "mine.yaml").write_text("\n".join(lines) + "\n")
    config = points("--config-dir", str(tmp_path), "experiment=mine", "trainer.threads=2")[0]
    assert (config.seed, config.trainer.precision, config.trainer.threads) == (7, "bf16-mixed", 2)
    one = "qconfig.bits=8", "schedule.qat.lr_scale=0.1", "schedule.qat.epochs=1"
    assert points("-m", "sweep=demo", *one)[0].trainer.threads == 1  # set in sweep/demo.yaml


def test_a_folder_of_the_users_own_adds_members(points, tmp_path):
    folder = tmp_path / "o'neil's conf"
    (folder / "qconfig").mkdir(parents=True)
    (folder / "qconfig" / "mine.yaml").write_text("defaults: [w8a8, _self_]\nbits: 5\n")
    config = points("--config-dir", str(folder), "qconfig=mine")[0]
    assert config.qconfig.bits == 5
    with pytest.raises(ConfigError, match=r"--config-dir nope: there is no such folder\."):
        points("--config-dir", "nope")


def test_the_names_of_parameters_are_those_of_the_command_line(changed):
    params = flat_params(parse(changed()))
    assert set(params) == {
        "model",
        "dataset",
        "seed",
        "device",
        "qconfig.bits",
        "qconfig.weight.bits",
        "qconfig.weight.granularity",
        "qconfig.activation.bits",
        "qconfig.activation.symmetric",
        "qconfig.backend",
        "qconfig.quantizer",
        "qconfig.calibration.method",
        "qconfig.calibration.batches",
        "qconfig.calibration.percentile",
        "qconfig.first_last_bits",
        "qconfig.layers",
        *(f"qconfig.auto.{name}" for name in ("budget", "target", "target_bits")),
        "qconfig.auto.choices",
        "qconfig.auto.batches",
        *(
            f"schedule.{part}.{name}"
            for part in ("fp32", "qat")
            for name in (
                "epochs",
                "lr" if part == "fp32" else "lr_scale",
                "momentum",
                "weight_decay",
                "warmup_epochs",
                "decay",
                "decay_epochs",
                "label_smoothing",
                "clip_grad_norm",
                "select",
            )
        ),
        "schedule.qat.scale_lr",
        "schedule.qat.scale_weight_decay",
        "schedule.qat.reestimate_bn",
        "schedule.qat.distill.weight",
        "schedule.qat.distill.temperature",
        "schedule.qat.distill.teacher",
        "schedule.qat.progressive.bits",
        "schedule.qat.progressive.share",
        "schedule.qat.freeze_observers_at",
        "schedule.qat.freeze_bn_at",
        "schedule.control",
        "target.max_drop",
        "target.epochs",
        "schedule.optimizer._target_",
        "trainer.devices",
        "trainer.precision",
        "trainer.threads",
        *(
            f"dataset.{name}"
            for name in (
                "_target_",
                "root",
                "download",
                "image_size",
                "resize_size",
                "batch_size",
                "eval_batch_size",
                "workers",
                "placement",
                "memory_limit_mb",
                "val_fraction",
                "split_seed",
                "mean",
                "std",
            )
        ),
        "dataset.augment.flip",
        "dataset.augment.crop_padding",
        "dataset.augment.random_resized_crop",
        "model._target_",
        "model.checkpoint",
        "model.pretrained",
        "export.opset",
        "export.dynamic_batch",
        "export.pack",
        "measure.threads",
        "measure.batch_sizes",
        "measure.warmup",
        "measure.rounds",
        "measure.min_round_ms",
        "measure.certificate_images",
        "debug.limit_batches",
    }
    assert "trainer.checkpoint_seconds" not in params  # no figure depends on it
    assert params["model"] == "resnet8"
    assert params["qconfig.backend"] == "onnxruntime"
    assert params["seed"] == 0


def test_arguments_of_targets_are_parameters(changed):
    params = flat_params(parse(changed("model.width=2", "dataset.source.kind=x")))
    assert params["model.width"] == 2
    assert params["dataset.source.kind"] == "x"


@pytest.mark.parametrize(
    ("overrides", "bits"),
    [
        pytest.param(["qconfig.bits=4"], 4, id="both"),
        pytest.param(["qconfig.weight.bits=4"], "w4a8", id="mixed"),
        pytest.param(["qconfig.weight.bits=4", "qconfig.activation.bits=4"], 4, id="set apart"),
    ],
)
def test_the_common_bits_do_not_contradict_the_others(changed, overrides, bits):
    assert flat_params(parse(changed(*overrides)))["qconfig.bits"] == bits


def test_the_plain_configuration_is_json(changed):
    rule = "qconfig.layers=[{match: fc, granularity: per_tensor}]"
    plain = plain_config(parse(changed(rule, "model.scales=[1,2]", "model.limit=.inf")))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["qconfig"]["backend"] == "onnxruntime"
    assert plain["qconfig"]["layers"] == [
        {
            "match": "fc",
            "weight_bits": None,
            "activation_bits": None,
            "granularity": "per_tensor",
            "skip": False,
        }
    ]
    assert plain["model"]["options"] == {"scales": [1, 2], "limit": "inf"}


def test_names_are_the_last_part_of_a_target(changed):
    config = parse(changed())
    assert replace(config.model, target="a.b.net").name == "net"
    assert replace(config.dataset, target="a.b.shapes").name == "shapes"


def test_a_command_line_is_checked_without_torch_and_mlflow():
    """They take seconds to import, and a wrong key is answered within one."""
    code = """
import importlib, pkgutil, sys
import qatexp.config
for module in pkgutil.iter_modules(qatexp.config.__path__):
    importlib.import_module(f"qatexp.config.{module.name}")
from hydra._internal.utils import get_args_parser
from qatexp.cli.compose import checked_request
from qatexp.cli.resolvers import register_resolvers
register_resolvers()
checked_request(get_args_parser().parse_args(["qconfig.bits=4"]))
print(sorted({"torch", "torchvision", "mlflow", "numpy", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        pytest.param(
            ["qconfig.weight.bits=null", "qconfig.activation.bits=null"],
            "qconfig.weight.bits=null and qconfig.activation.bits=null leave nothing to quantize; "
            "set one of them to 2..8.",
            id="nothing to quantize",
        ),
        pytest.param(
            ["qconfig.activation.bits=null", "qconfig.layers=[{match: a, activation_bits: 4}]"],
            "qconfig.layers[0].activation_bits=4 is not possible with "
            "qconfig.activation.bits=null, which leaves all of them in float.",
            id="a rule for what is in float",
        ),
        pytest.param(
            ["schedule.qat.distill.weight=0.5", "schedule.qat.distill.teacher=control"],
            "schedule.qat.distill.teacher=control needs the control: set schedule.control=true, "
            "or take the teacher fp32.",
            id="a teacher that is not trained",
        ),
        pytest.param(
            ["schedule.qat.progressive.bits=[4,8]"],
            "schedule.qat.progressive.bits=[4, 8] is not possible; allowed: different numbers in "
            "falling order, e.g. [8, 4].",
            id="rising bits",
        ),
        pytest.param(
            ["schedule.qat.progressive.bits=[8,4]", "schedule.qat.select=best"],
            "schedule.qat.progressive.bits=[8, 4] and schedule.qat.select=best exclude each "
            "other: an early epoch at wider bits would win; set schedule.qat.select=last.",
            id="the best of different bits",
        ),
        pytest.param(
            [
                "qconfig.bits=2",
                "schedule.qat.progressive.bits=[8,4]",
                "schedule.qat.progressive.share=1.0",
            ],
            "schedule.qat.progressive.share=1.0 is not possible; allowed: below 1, as the bits "
            "that training ends with need some of its steps.",
            id="wider bits to the end",
        ),
        pytest.param(
            ["schedule.qat.progressive.bits=[8,4]", "schedule.qat.decay=short"],
            "schedule.qat.progressive.bits=[8, 4] and schedule.qat.decay=short exclude each "
            "other: how long wider bits last depends on the number of epochs; set "
            "schedule.qat.decay=cosine.",
            id="bits of a stem",
        ),
        pytest.param(
            ["schedule.qat.progressive.bits=[8,4]"],
            "schedule.qat.progressive.bits=[8, 4] is not possible: training starts at wider bits "
            "than it ends with, and the narrowest of qconfig are 8; allowed: none. Lower "
            "qconfig.bits, or set schedule.qat.progressive.bits=[].",
            id="bits that are not wider",
        ),
        pytest.param(
            ["schedule.qat.progressive.bits=[8,4]", "qconfig.layers=[{match: a, weight_bits: 4}]"],
            "schedule.qat.progressive.bits=[8, 4] is not possible: training starts at wider bits "
            "than it ends with, and the narrowest of qconfig are 4; allowed: 5 to 8. Lower "
            "qconfig.bits, or set schedule.qat.progressive.bits=[].",
            id="bits of which one is not wider",
        ),
        pytest.param(
            ["export.pack=direct", "qconfig.layers=[{match: a, weight_bits: 2}]"],
            "qconfig.layers[0].weight_bits=2 is not possible with export.pack=direct: ONNX Runtime "
            "does not load INT2 that DequantizeLinear reads; use export.pack=cast, or 3 and more "
            "bits.",
            id="two bits without a cast",
        ),
        pytest.param(
            ["target.epochs=[5,2]"],
            "target.epochs=[5, 2] is not possible; allowed: different numbers in rising order, "
            "e.g. [1, 2, 5].",
            id="falling epochs",
        ),
        pytest.param(
            ["qconfig.weight.bits=null", "qconfig.auto={budget: size_bytes, target_bits: 4}"],
            "qconfig.weight.bits=null and qconfig.auto.budget=size_bytes exclude each other: bits "
            "are chosen for weights and activations that are quantized; set qconfig.weight.bits "
            "to 2..8.",
            id="bits chosen for weights in float",
        ),
        pytest.param(
            [
                "target.max_drop=1",
                "schedule.control=true",
                "schedule.qat.distill.weight=0.5",
                "schedule.qat.distill.teacher=control",
            ],
            "target.max_drop and schedule.qat.distill.teacher=control exclude each other: how long "
            "the control trains is known only when the target is reached; take the teacher fp32.",
            id="a teacher that trains as long as its pupil",
        ),
    ],
)
def test_keys_that_exclude_each_other(changed, overrides, text):
    with pytest.raises(ConfigError) as problem:
        parse(changed(*overrides))
    assert str(problem.value) == text


@pytest.mark.parametrize(
    ("weight", "activation", "name"),
    [("4", "8", "w4a8"), ("null", "4", "w32a4"), ("2", "null", "w2a32")],
)
def test_the_parameter_bits_names_different_bits_of_weights_and_activations(
    changed, weight, activation, name
):
    config = parse(
        changed(f"qconfig.weight.bits={weight}", f"qconfig.activation.bits={activation}")
    )
    assert flat_params(config)["qconfig.bits"] == name


def test_two_bits_are_no_choice_where_they_cannot_be_stored(changed):
    direct = changed("export.pack=direct", "qconfig.auto={budget: bops, target_bits: 4}")
    with pytest.raises(ConfigError) as caught:
        parse(direct)
    assert str(caught.value) == (
        "export.pack=direct stores no 2-bit weights, and qconfig.auto may choose them; take 2 out "
        "of qconfig.auto.choices, or use export.pack=cast."
    )
