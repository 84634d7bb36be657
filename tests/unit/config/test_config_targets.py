import re

import pytest

from qatexp.config.targets import check_target, resolve
from qatexp.errors import ConfigError

KEY = "model._target_"


def message(problem):
    return str(problem.value)


@pytest.mark.parametrize("target", ["resnet8", "qatexp.", "qatexp..models", "qatexp.2", ".x", ""])
def test_a_target_has_to_be_a_dotted_name(target):
    with pytest.raises(ConfigError) as problem:
        check_target(target, key=KEY)
    assert message(problem) == (
        f"model._target_={target!r} is not a dotted name; allowed: package.module.callable"
    )


def test_a_package_that_is_not_trusted_is_named_with_the_way_to_trust_it():
    with pytest.raises(ConfigError) as problem:
        check_target("os.system", key=KEY, trusted=["mine"])
    assert message(problem) == (
        "model._target_=os.system is not of a trusted package; "
        "allowed: qatexp, torch, torchvision, timm, mine. "
        "If you trust it, add trusted_packages=[os]."
    )


def test_trust_is_by_whole_name():
    """`torch_evil` is not `torch`."""
    with pytest.raises(ConfigError, match=r"add trusted_packages=\[torch_evil\]"):
        check_target("torch_evil.build", key=KEY)


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ConfigError) as problem:
        check_target("no_such_package.build", key=KEY, trusted=["no_such_package"])
    assert message(problem) == (
        "model._target_=no_such_package.build: package 'no_such_package' cannot be found; "
        "install it, or run qatexp from the folder that holds it."
    )


def test_checking_imports_nothing(package):
    target = package.write("loud", "raise RuntimeError('imported')\ndef build(): ...") + ".build"
    check_target(target, key=KEY, trusted=[package.name])


def test_a_name_that_a_file_does_not_define_is_refused_without_importing_it(package):
    text = "raise RuntimeError('imported')\nfrom torch import nn\ndef build_net(): ..."
    target = package.write("loud", text) + ".build_nets"
    with pytest.raises(ConfigError) as problem:
        check_target(target, key=KEY, trusted=[package.name])
    assert message(problem) == (
        "model._target_=their_package.loud.build_nets: their_package.loud has no 'build_nets'; did "
        "you mean build_net?"
    )


@pytest.mark.parametrize(
    "text",
    [
        "from os.path import *",
        "def __getattr__(name): ...",
        "globals()['build'] = print",
        "import sys; sys.modules[__name__] = sys",
        "from os.path import join as build",
        "if True:\n    build = print",
        "def broken(:",
    ],
    ids=["star", "getattr", "globals", "replaced", "import", "branch", "syntax"],
)
def test_what_only_running_a_file_can_tell_is_not_refused(package, text):
    check_target(package.write("mod", text) + ".build", key=KEY, trusted=[package.name])


def test_a_callable_of_a_submodule_is_found(package):
    target = package.write("nets", "def build():\n    return 7\n") + ".build"
    assert resolve(target, key=KEY, trusted=[package.name])() == 7


def test_a_method_of_a_class_is_found(package):
    text = "class Net:\n    @classmethod\n    def small(cls):\n        return 8\n"
    target = package.write("nets", text) + ".Net.small"
    assert resolve(target, key=KEY, trusted=[package.name])() == 8


def test_resolving_checks_trust_first(package):
    target = package.write("loud", "raise RuntimeError('imported')") + ".build"
    with pytest.raises(ConfigError, match="not of a trusted package"):
        resolve(target, key=KEY)


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        pytest.param(
            "", "build", "their_package.mod has no 'build'.", id="attribute that is missing"
        ),
        pytest.param(
            "class Net:\n    pass\n",
            "Net.small",
            "their_package.mod.Net has no 'small'.",
            id="attribute of a class that is missing",
        ),
        pytest.param("build = 3", "build", "it is of type int.", id="not callable"),
        pytest.param(
            "def build(:\n",
            "build",
            "importing their_package.mod failed: SyntaxError:",
            id="syntax error",
        ),
        pytest.param(
            "import no_such_module_anywhere\ndef build(): ...",
            "build",
            "importing their_package.mod failed: No module named 'no_such_module_anywhere'",
            id="import of something that is missing",
        ),
        pytest.param(
            "raise OSError('disk on fire')\ndef build(): ...",
            "build",
            "importing their_package.mod failed: OSError: disk on fire",
            id="exception while importing",
        ),
    ],
)
def test_a_target_that_cannot_be_resolved_says_why(package, text, attribute, expected):
    target = f"{package.write('mod', text)}.{attribute}"
    with pytest.raises(ConfigError, match=re.escape(expected)) as problem:
        resolve(target, key=KEY, trusted=[package.name])
    assert message(problem).startswith(f"model._target_={target}")


def test_a_module_that_is_missing_is_named(package):
    with pytest.raises(ConfigError, match=r"their_package has no 'nope'\.$"):
        resolve("their_package.nope", key=KEY, trusted=[package.name])


@pytest.mark.parametrize(
    "target", ["torch.hub.load", "torch.load", "torch.os.system", "qatexp.cli.main"]
)
def test_only_what_builds_something_is_taken_of_a_trusted_package(target):
    """A configuration from elsewhere could otherwise download and run what it likes."""
    with pytest.raises(ConfigError) as problem:
        check_target(target, key=KEY)
    package = target.partition(".")[0]
    assert str(problem.value) == (
        f"model._target_={target} is in no part of {package} that builds networks, data sets or "
        "optimizers; allowed: qatexp.data, qatexp.models, torch.nn, torch.optim, "
        "torchvision.datasets, torchvision.models, timm. If you trust all of it, add "
        f"trusted_packages=[{package}]."
    )


@pytest.mark.parametrize(
    "target",
    [
        "qatexp.models.cifar_resnet20",
        "qatexp.data.sources.digits",
        "torch.nn.Sequential",
        "torch.optim.SGD",
        "torchvision.models.resnet18",
        "torchvision.models.efficientnet_b0",
        "torchvision.datasets.CIFAR10",
    ],
)
def test_builders_of_trusted_packages_resolve(target):
    assert callable(resolve(target, key=KEY))


@pytest.mark.parametrize(
    ("target", "home"),
    [
        ("torch.nn.modules.module.torch.load", "torch.serialization.load"),
        ("torchvision.models._api.load_state_dict_from_url", "torch.hub.load_state_dict_from_url"),
        ("qatexp.data.load.Path", "pathlib.Path"),
        ("torch.nn.modules.module.functools.partial", "functools.partial"),
    ],
)
def test_another_name_makes_nothing_trusted(target, home):
    with pytest.raises(ConfigError) as problem:
        resolve(target, key=KEY)
    assert str(problem.value) == (
        f"model._target_={target} is {home}, which is not of a trusted package or part; if you "
        f"trust it, add trusted_packages=[{home.partition('.')[0]}]."
    )


def test_what_a_users_package_hands_on_has_to_be_trusted_itself(package):
    text = "import functools, os\nrun = os.system\nlater = functools.partial(os.system, 'true')\n"
    module = package.write("mod", text)
    for name in ("run", "later"):
        with pytest.raises(ConfigError, match=r"is posix\.system, which is not of a trusted"):
            resolve(f"{module}.{name}", key=KEY, trusted=[package.name])
