import subprocess
import sys

import pytest
import torchvision
from hydra import compose, initialize
from hydra.core.config_store import ConfigStore

from qatexp.config.members import TORCHVISION_MODELS, register_models


def test_the_list_is_that_of_the_installed_torchvision():
    assert list(TORCHVISION_MODELS) == torchvision.models.list_models(module=torchvision.models)


def test_registering_twice_leaves_one_member_per_name():
    register_models()
    register_models()
    found = ConfigStore.instance().list("model")
    assert [name for name in found if name == "resnet18.yaml"] == ["resnet18.yaml"]
    assert {f"{name}.yaml" for name in TORCHVISION_MODELS} <= set(found)


def test_a_registered_member_composes_to_its_target():
    register_models()
    with initialize(version_base=None, config_path=None):
        composed = compose(overrides=["+model=mobilenet_v2"])
    assert composed.model == {
        "_target_": "torchvision.models.mobilenet_v2",
        "checkpoint": None,
        "pretrained": False,
    }


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_a_member_with_auxiliary_classifiers_is_built_without_them(name):
    """In training it would answer with three tensors, which no loss takes."""
    register_models()
    with initialize(version_base=None, config_path=None):
        model = compose(overrides=[f"+model={name}"]).model
    assert (model.aux_logits, model.init_weights) == (False, False)


def test_the_names_are_known_without_importing_torch():
    code = (
        "import sys, qatexp.config.members as m; m.register_models(); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
