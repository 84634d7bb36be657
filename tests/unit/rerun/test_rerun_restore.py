import json
import math

import pytest

from qatexp.config.parse import parse_plain, plain_config
from qatexp.errors import ConfigError
from qatexp.rerun.changes import Change
from qatexp.rerun.restore import restore

RULES = "qconfig.layers=[{match: 'blocks.1.*', weight_bits: 4}, {match: linear, skip: true}]"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="default"),
        pytest.param([RULES, "qconfig.weight.granularity=per_tensor"], id="layer rules"),
        pytest.param(["+model.scales=[1,2.5,[a]]", "+model.deep={a: {b: null}}"], id="options"),
        pytest.param(["+model.limit=inf", "+model.low=[-inf,{x: inf}]"], id="infinities"),
        pytest.param(["qconfig.activation.bits=null", "measure.threads=[1,2]"], id="nulls, lists"),
        pytest.param(["experiment=latency_224", "model=resnet50"], id="experiment"),
        pytest.param(
            ["+schedule.optimizer.nesterov=true", "schedule.optimizer._target_=torch.optim.SGD"],
            id="optimizer",
        ),
        pytest.param(
            ["target.max_drop=0.5", "dataset.mean=[0.5]", "dataset.std=[0.25]"], id="more"
        ),
    ],
)
def test_a_configuration_survives_its_trip_through_json(points, arguments):
    (config,) = points(*arguments)
    plain = json.loads(json.dumps(plain_config(config)))
    assert parse_plain(plain) == config
    assert plain_config(parse_plain(plain)) == plain


def test_infinities_are_numbers_again(points):
    (config,) = points("+model.limit=inf", "+model.low=[-inf]")
    options = parse_plain(plain_config(config)).model.options
    assert options == {"limit": math.inf, "low": [-math.inf]}


def test_a_rerun_computes_everything_with_the_threads_and_the_device_of_the_original(make_origin):
    config = restore(make_origin("seed=3", threads=7, device="cpu")).config
    assert (config.seed, config.trainer.threads, config.device) == (3, 7, "cpu")
    assert not config.cache.enabled
    assert config.tracking.enabled


def test_what_the_original_chose_itself_stays(make_origin):
    config = restore(make_origin("trainer.threads=3", "device=cpu", threads=3)).config
    assert (config.trainer.threads, config.device) == (3, "cpu")


def test_threads_of_several_processes_are_not_known(make_origin):
    assert restore(make_origin("trainer.devices=2", threads=7)).config.trainer.threads is None


def test_tracking_can_be_left_out(make_origin):
    assert not restore(make_origin(), tracked=False).config.tracking.enabled


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        pytest.param(["trainer.threads=1"], Change("trainer.threads", 2, 1), id="threads"),
        pytest.param(["seed=1"], Change("seed", 0, 1), id="seed"),
        pytest.param(["measure.threads=[1,2]"], Change("measure.threads", 1, [1, 2]), id="list"),
        pytest.param(["model.width=8"], Change("model.width", 16, 8), id="option"),
        pytest.param(["+model.depth=8"], Change("model.depth", None, 8), id="new option"),
    ],
)
def test_keys_are_changed_on_purpose(make_origin, settings, change):
    restored = restore(make_origin("+model.width=16"), settings)
    assert restored.changes == (change,)


def test_a_key_that_is_set_to_what_it_was_is_no_change(make_origin):
    assert restore(make_origin(), ["seed=0"]).changes == ()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        pytest.param(
            "sed=1", "sed is not a key of the configuration; allowed at the top", id="key"
        ),
        pytest.param("model.widht=1", "model.widht is not a key", id="unknown option"),
        pytest.param("seed.x=1", "seed.x is not possible: seed is one value", id="below a value"),
        pytest.param("seed", "--set seed cannot be read: ", id="no value"),
        pytest.param("seed=0,1", "a key gets one value; allowed: KEY=VALUE.", id="sweep"),
        pytest.param("~seed", "a key gets one value; allowed: KEY=VALUE.", id="deletion"),
        pytest.param("model=resnet50", "it is no key with a value, but a branch", id="group"),
        pytest.param("cache.enabled=true", "computes everything without the stage", id="cache"),
        pytest.param("cache.dir=x", "--set cache.dir would change nothing: a rerun", id="folder"),
        pytest.param("sweep.max_failures=1", "a rerun is one run", id="sweep around it"),
        pytest.param("qconfig.bits=4", "set qconfig.weight.bits and", id="bits of both"),
        pytest.param(
            "qconfig.weight.bits=9",
            "run f00d: qconfig.weight.bits=9 is not possible; allowed: 2 to 8. "
            "For the rerun, --set KEY=VALUE changes a key.",
            id="out of range",
        ),
    ],
)
def test_a_change_that_is_not_possible_is_refused(make_origin, setting, text):
    with pytest.raises(ConfigError) as caught:
        restore(make_origin(), [setting])
    assert text in str(caught.value)


def test_a_key_of_another_version_is_refused(make_origin):
    origin = make_origin()
    origin.config["qconfig"]["rounding"] = "nearest"
    with pytest.raises(ConfigError) as caught:
        restore(origin)
    text = str(caught.value)
    assert text.startswith("run f00d: qconfig.rounding is not a key of the configuration; allowed")
    assert text.endswith("The run was made by qatexp 0.1.0; rerun it with that version.")


def test_a_key_that_the_original_lacks_is_told(make_origin):
    origin = make_origin()
    del origin.config["qconfig"]["auto"]["batches"]
    del origin.config["sweep"]["select"]  # on which no figure depends
    assert restore(origin).added == (Change("qconfig.auto.batches", None, 1),)


def test_a_file_that_is_gone_is_told_before_anything_starts(make_origin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").touch()
    origin = make_origin("model.checkpoint=net.pth")
    (tmp_path / "net.pth").unlink()
    with pytest.raises(ConfigError, match=r"model.checkpoint=net.pth: there is no such file"):
        restore(origin)


def test_trust_in_code_has_to_be_said_again(make_origin):
    origin = make_origin("trusted_packages=[json]", "model._target_=json.loads")
    with pytest.raises(ConfigError) as caught:
        restore(origin)
    assert str(caught.value) == (
        "run f00d runs code of packages that were named as trusted: json. If you trust them, too, "
        "add --set trusted_packages=[json]."
    )
    restored = restore(origin, ["trusted_packages=[json]"])
    assert restored.config.model.target == "json.loads"
    assert restored.changes == ()
