import argparse
import pickle
import re
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from qatexp.errors import ModelError
from qatexp.models import cifar_resnet20, resnet8
from qatexp.models.checkpoint import load_checkpoint_


@pytest.fixture(scope="module")
def trained():
    """A state dict that no fresh model has, batch norm statistics included."""
    torch.manual_seed(7)
    model = resnet8()
    model(torch.randn(4, 1, 8, 8))
    return model.state_dict()


def prefixed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def refused(model, path, name="resnet8") -> str:
    with pytest.raises(ModelError) as caught:
        load_checkpoint_(model, str(path), name=name)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="plain"),
        pytest.param(lambda s: {"state_dict": s, "best_prec1": 91.7, "epoch": 3}, id="state_dict"),
        pytest.param(lambda s: {"model": s, "optimizer": {"lr": 0.1}}, id="model"),
        pytest.param(lambda s: {"model_state_dict": s}, id="model_state_dict"),
        pytest.param(lambda s: {"net": s, "acc": 90}, id="net"),
        pytest.param(lambda s: {"state_dict": prefixed(s, "module.")}, id="data-parallel"),
        pytest.param(lambda s: prefixed(s, "_orig_mod."), id="compiled"),
        pytest.param(lambda s: prefixed(s, "module._orig_mod."), id="compiled-then-parallel"),
        pytest.param(lambda s: prefixed(s, "_orig_mod.module."), id="parallel-then-compiled"),
        pytest.param(
            lambda s: {k: v for k, v in s.items() if "num_batches_tracked" not in k},
            id="without-batch-counters",
        ),
        pytest.param(
            lambda s: {k: v.clone() for k, v in s.items()}, id="without-versions-of-modules"
        ),
    ],
)
def test_files_as_people_share_them_load(tmp_path, trained, wrap):
    torch.save(wrap(trained), tmp_path / "w.pth")
    model = resnet8()
    load_checkpoint_(model, str(tmp_path / "w.pth"), name="resnet8")
    state = model.state_dict()
    weights = [name for name in trained if "num_batches_tracked" not in name]
    assert all(torch.equal(state[name], trained[name]) for name in weights)


def test_safetensors_load(tmp_path, trained):
    save_file(prefixed(trained, "module."), tmp_path / "w.safetensors")
    model = resnet8()
    load_checkpoint_(model, str(tmp_path / "w.safetensors"), name="resnet8")
    assert torch.equal(model.conv1.weight, trained["conv1.weight"])


def test_the_format_before_torch_1_6_loads(tmp_path, trained):
    torch.save(trained, tmp_path / "w.th", _use_new_zipfile_serialization=False)
    model = resnet8()
    load_checkpoint_(model, str(tmp_path / "w.th"), name="resnet8")
    assert torch.equal(model.bn1.running_var, trained["bn1.running_var"])


def test_a_model_that_has_a_part_called_module_keeps_that_name(tmp_path):
    model = nn.ModuleDict({"module": nn.Linear(2, 2)})
    torch.save({"module.weight": torch.ones(2, 2), "module.bias": torch.ones(2)}, tmp_path / "w.th")
    load_checkpoint_(model, str(tmp_path / "w.th"), name="mine")
    assert model["module"].weight.sum() == 4


def test_the_names_of_torchvisions_densenet_files_are_understood(tmp_path):
    """torchvision itself renames them while it downloads; the files kept dots in the names."""
    model = nn.ModuleDict({"denselayer1": nn.ModuleDict({"norm1": nn.BatchNorm2d(2)})})
    old = {k.replace("norm1", "norm.1"): v + 3 for k, v in model.state_dict().items()}
    torch.save(old, tmp_path / "w.th")
    load_checkpoint_(model, str(tmp_path / "w.th"), name="densenet")
    assert model["denselayer1"]["norm1"].bias.sum() == 6


def test_a_model_whose_loading_needs_module_versions_takes_a_file_without_them(tmp_path):
    """MNASNet refuses a state dict without versions, as safetensors always are."""
    from torchvision.models import mnasnet0_5

    state = mnasnet0_5(num_classes=3).state_dict()
    save_file(dict(state), tmp_path / "w.safetensors")
    model = mnasnet0_5(num_classes=3)
    load_checkpoint_(model, str(tmp_path / "w.safetensors"), name="mnasnet0_5")
    assert torch.equal(model.classifier[1].weight, state["classifier.1.weight"])


def test_another_architecture_lists_what_differs(tmp_path, trained):
    state = {name: value for name, value in trained.items() if not name.startswith("linear")}
    torch.save(
        {**state, "fc.weight": torch.ones(1), "conv1.weight": torch.ones(64, 3, 3, 3)},
        tmp_path / "w.pth",
    )
    assert refused(resnet8(), tmp_path / "w.pth") == (
        f"model.checkpoint={tmp_path / 'w.pth'} does not fit the model resnet8:\n"
        "  missing in the file (2): linear.weight, linear.bias\n"
        "  not in the model (1): fc.weight\n"
        "  of another shape (1): conv1.weight: checkpoint (64, 3, 3, 3), model (16, 1, 3, 3)\n"
        "It looks like the file of another architecture, or of another variant of it: set model= "
        "to the one that the file was saved from."
    )


def test_long_lists_are_cut_after_ten_names(tmp_path, trained):
    torch.save(trained, tmp_path / "w.pth")
    text = refused(cifar_resnet20(), tmp_path / "w.pth", name="cifar_resnet20")
    missing = next(line for line in text.splitlines() if "missing in the file" in line)
    assert missing.startswith("  missing in the file (90): layer1.0.conv1.weight, ")
    assert missing.endswith(", and 80 more")
    assert missing.count(", ") == 10


def test_another_number_of_classes_is_said_as_such(tmp_path, trained):
    torch.save(trained, tmp_path / "w.pth")
    text = refused(resnet8(num_classes=7), tmp_path / "w.pth")
    assert text.splitlines()[1:] == [
        "  of another shape (2): linear.weight: checkpoint (10, 64), model (7, 64); "
        "linear.bias: checkpoint (10,), model (7,)",
        "Only the classifier differs: the file is for 10 classes, the model for 7. "
        "Set a dataset with 10 classes or another file.",
    ]


def test_a_missing_file_is_named(tmp_path):
    path = tmp_path / "no.pth"
    assert refused(resnet8(), path) == (
        f"model.checkpoint={path} does not exist (looked for {path}). "
        "Give the path of a weights file, or null for random weights."
    )


def test_a_folder_is_no_checkpoint(tmp_path):
    assert f"model.checkpoint={tmp_path} is a folder" in refused(resnet8(), tmp_path)


class Trap:
    """Unpickling it would write a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_but_tensors_is_unpickled(tmp_path, trained):
    torch.save({"state_dict": trained, "extra": Trap(tmp_path / "sprung")}, tmp_path / "w.pth")
    text = refused(resnet8(), tmp_path / "w.pth")
    assert "holds more than tensors (" in text
    assert not (tmp_path / "sprung").exists()


def test_the_way_to_save_a_file_anew_is_shown_and_names_what_was_refused(tmp_path, trained):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": trained, "args": argparse.Namespace(lr=1)}, path)
    assert refused(resnet8(), path) == (
        f"model.checkpoint={path} holds more than tensors (argparse.Namespace). Loading that could "
        "run any program, so it is refused. If you trust the file, save its weights alone: python "
        f"-c \"import torch; c = torch.load('{path}', weights_only=False); "
        "torch.save(c.state_dict() if hasattr(c, 'state_dict') else c['state_dict'], "
        "'weights.pth')\", and set model.checkpoint=weights.pth."
    )


@pytest.mark.parametrize("whole", [True, False], ids=["a whole model", "a dict with other things"])
def test_the_command_that_is_shown_saves_the_weights(tmp_path, monkeypatch, trained, whole):
    model = resnet8()
    model.load_state_dict(trained)
    content = model if whole else {"state_dict": trained, "args": argparse.Namespace(lr=1)}
    torch.save(content, tmp_path / "w.pth")
    (command,) = re.findall(r'python -c "(.*)"', refused(resnet8(), tmp_path / "w.pth"))
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    saved = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert saved.keys() == trained.keys()
    assert all(torch.equal(saved[key], trained[key]) for key in trained)


def test_a_whole_pickled_model_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    assert "more than tensors (torch.nn.modules.linear.Linear)" in refused(
        resnet8(), tmp_path / "w.pth"
    )


def _cut(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:100_000])


def _cut_old_format(path, state):
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:100_000])


def _changed_bytes(path, state):
    torch.save(state, path)
    content = path.read_bytes()
    weight = state["blocks.2.conv2.weight"].numpy().tobytes()
    assert weight in content
    path.write_bytes(content.replace(weight, b"\x00" * len(weight)))


@pytest.mark.parametrize(
    ("damage", "quoted"),
    [
        pytest.param(lambda path, _: path.write_bytes(b""), "(0 bytes)", id="empty"),
        pytest.param(
            lambda path, _: path.write_text("<html>not found</html>"),
            "(22 bytes): Unsupported operand 60.",
            id="web-page",
        ),
        pytest.param(
            lambda path, _: path.write_bytes(pickle.dumps({"a": 1})), "bytes)", id="other-pickle"
        ),
        pytest.param(_cut, "(100000 bytes)", id="cut"),
        pytest.param(_cut_old_format, "(100000 bytes)", id="cut-old-format"),
        pytest.param(_changed_bytes, "is wrong", id="changed-bytes"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, trained, damage, quoted):
    path = tmp_path / "w.pth"
    damage(path, trained)
    text = refused(resnet8(), path)
    assert text.startswith(
        f"model.checkpoint={path} is damaged, or no file of PyTorch or safetensors ("
    )
    assert quoted in text
    assert text.endswith("Download or copy it anew.")


def test_a_damaged_safetensors_file_is_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"not a header at all")
    assert "is damaged" in refused(resnet8(), tmp_path / "w.safetensors")


def test_a_zip_file_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "is damaged, or no file of PyTorch" in refused(resnet8(), tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "held"),
    [
        pytest.param({"epoch": 3, "lr": 0.1}, "it holds epoch, lr, not tensors", id="no-weights"),
        pytest.param({"state_dict": {}}, "it holds an empty dict", id="empty"),
        pytest.param([torch.ones(2)], "it holds a list", id="list"),
        pytest.param(torch.ones(2), "it holds a Tensor", id="tensor"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content, held):
    torch.save(content, tmp_path / "w.pth")
    text = refused(resnet8(), tmp_path / "w.pth")
    assert held in text
    assert text.endswith("under one of the keys state_dict, model_state_dict, model, net.")


def test_one_layer_with_other_inputs_is_not_called_a_classifier(tmp_path, trained):
    torch.save({**trained, "conv1.weight": torch.ones(16, 3, 3, 3)}, tmp_path / "w.pth")
    assert "looks like the file of another architecture" in refused(resnet8(), tmp_path / "w.pth")


def test_a_tensor_of_a_kind_that_cannot_be_copied_is_refused(tmp_path, trained):
    sparse = trained["conv1.weight"].to_sparse()
    torch.save({**trained, "conv1.weight": sparse}, tmp_path / "w.pth")
    text = refused(resnet8(), tmp_path / "w.pth")
    assert text.startswith(f"model.checkpoint={tmp_path / 'w.pth'} does not load: ")
    assert "conv1.weight" in text
