"""Every file of ``conf/`` composes and validates, and says what it is."""

import dataclasses

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import qatexp.config.schema
from qatexp.cli.compose import VERSION_BASE
from qatexp.cli.resolvers import register_resolvers
from qatexp.config.schema import ExperimentConfig
from qatexp.config.sources import CONF, CONFIG_NAME

FILES = sorted(path.relative_to(CONF) for path in CONF.rglob("*.yaml"))
GROUPS = ("model", "dataset", "qconfig", "schedule", "export", "measure", "tracking", "debug")
PATHS = {
    "cifar10_resnet20": ("dataset.root", "model.checkpoint"),
    "latency_224": (),
}
"""Keys that an experiment cannot do without."""


def members(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture
def paths(tmp_path):
    """Overrides that name a data folder and a checkpoint."""
    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
    (tmp_path / "weights.th").write_bytes(b"")
    values = {
        "dataset.root": tmp_path / "data",
        "model.checkpoint": tmp_path / "weights.th",
    }
    return {key: f"{key}={value}" for key, value in values.items()}


@pytest.mark.parametrize(
    ("group", "member"), [(group, member) for group in GROUPS for member in members(group)]
)
def test_every_member_of_a_group_composes_and_validates(points, paths, group, member):
    # Hydra takes no boolean as the name of a member.
    name = "'true'" if member == "true" else member
    given = [paths["dataset.root"]] if group == "dataset" else []
    assert len(points(f"{group}={name}", *given)) == 1


@pytest.mark.parametrize("experiment", members("experiment"))
def test_every_experiment_composes_and_validates(points, paths, experiment):
    given = [paths[key] for key in PATHS[experiment]]
    assert len(points(f"experiment={experiment}", *given)) == 1


@pytest.mark.parametrize(
    ("sweep", "trials"), [("bits_lr_epochs", 27), ("demo", 12)], ids=["bits_lr_epochs", "demo"]
)
def test_every_point_of_a_sweep_composes_and_validates(points, sweep, trials):
    swept = [
        (config.qconfig.bits, config.schedule.qat.lr_scale, config.schedule.qat.epochs)
        for config in points("-m", f"sweep={sweep}")
    ]
    assert len(swept) == len(set(swept)) == trials


def test_every_sweep_is_tested():
    assert members("sweep") == ["bits_lr_epochs", "demo"]


def test_a_torchvision_model_needs_no_file(points):
    assert points("model=mobilenet_v2")[0].model.target == "torchvision.models.mobilenet_v2"


@pytest.mark.parametrize("member", members("qconfig"))
def test_the_name_of_a_qconfig_is_what_it_sets(points, member):
    qconfig = points(f"qconfig={member}")[0].qconfig
    assert f"w{qconfig.weight.bits}a{qconfig.activation.bits}" == member


def test_the_default_run(points):
    """The default run is the README's: digits at W8A8, trained from random weights."""
    config = points()[0]
    assert config.name == "resnet8-digits"
    assert (config.qconfig.bits, config.qconfig.quantizer.name) == (8, "lsq")
    assert (config.schedule.fp32.epochs, config.schedule.qat.lr_scale) == (10, 0.1)
    assert config.tracking.enabled
    assert config.cache.dir == "multirun/.stages"
    assert config.debug.limit_batches is None


def test_debug_members_do_what_they_say(points):
    assert points("debug='true'")[0].debug.traceback
    fast = points("debug=fast")[0]
    assert fast.debug.limit_batches == 2
    assert (fast.schedule.fp32.epochs, fast.schedule.qat.epochs) == (1, 1)


def test_tracking_can_be_switched_off(points):
    assert not points("tracking=none")[0].tracking.enabled


def test_the_table_of_contents_stays_short():
    assert len((CONF / "config.yaml").read_text(encoding="utf-8").splitlines()) < 40


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_says_what_it_is(file):
    lines = (CONF / file).read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines[:3] if line.startswith("# ") and "@package" not in line]
    assert lines[0].startswith("#")
    assert comments
    assert all(line.rstrip() == line and len(line) <= 100 for line in lines)


@pytest.mark.parametrize("experiment", members("experiment") + members("sweep"))
def test_a_whole_experiment_or_sweep_shows_its_command(experiment):
    folder = "experiment" if experiment in members("experiment") else "sweep"
    text = (CONF / folder / f"{experiment}.yaml").read_text(encoding="utf-8")
    command = f"#   qatexp experiment={experiment}"
    assert (command if folder == "experiment" else f"#   qatexp -m sweep={experiment}") in text


def schema_keys(schema, branch=""):
    """Full keys of all plain values of a schema, as they are written in YAML."""
    for item in dataclasses.fields(schema):
        nested = getattr(qatexp.config.schema, item.type, None)
        if not dataclasses.is_dataclass(nested):
            yield f"{branch}{item.name}"
        else:
            yield from schema_keys(nested, f"{branch}{item.name}.")


def yaml_keys(node, branch=""):
    for name, value in node.items():
        if isinstance(value, dict) and branch + name != "schedule.optimizer":
            yield from yaml_keys(value, f"{branch}{name}.")
        else:
            yield f"{branch}{name}"


def test_the_files_hold_exactly_the_keys_of_the_schema():
    """None is hidden in the code alone, and none is in the files that the code does not read."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base=VERSION_BASE):
        composed = OmegaConf.to_container(compose(CONFIG_NAME))
    written = {
        key.replace("model._target_", "model.target").replace("dataset._target_", "dataset.target")
        for key in yaml_keys(composed)
    }
    options = {"model.options", "dataset.options"}  # what is not a key of the schema
    assert written == set(schema_keys(ExperimentConfig)) - options


@pytest.mark.parametrize("group", ["model", "dataset", "schedule", "measure", "export"])
def test_the_files_of_a_group_have_the_same_keys(group):
    keys = {
        member: sorted(yaml_keys(yaml.safe_load((CONF / group / f"{member}.yaml").read_text())))
        for member in members(group)
    }
    assert len({tuple(value) for value in keys.values()}) == 1, keys
