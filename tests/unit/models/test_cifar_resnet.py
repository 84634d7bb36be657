import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from qatexp.models import cifar_resnet20, cifar_resnet32, cifar_resnet44, cifar_resnet56
from qatexp.models.cifar_resnet import PadShortcut


@pytest.mark.parametrize(
    ("build", "params"),
    [
        pytest.param(cifar_resnet20, 269_722, id="20"),
        pytest.param(cifar_resnet32, 464_154, id="32"),
        pytest.param(cifar_resnet44, 658_586, id="44"),
        pytest.param(cifar_resnet56, 853_018, id="56"),
    ],
)
def test_parameter_counts_are_those_of_the_paper(build, params):
    assert sum(each.numel() for each in build().parameters()) == params


def test_parameters_are_named_as_in_the_shared_checkpoints():
    layers = {name.rpartition(".")[0] for name in cifar_resnet20().state_dict()}
    blocks = {
        f"layer{stage}.{block}.{layer}"
        for stage in (1, 2, 3)
        for block in (0, 1, 2)
        for layer in ("conv1", "bn1", "conv2", "bn2")
    }
    assert layers == {"conv1", "bn1", "linear"} | blocks


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides():
    images = torch.arange(2 * 16 * 4 * 4, dtype=torch.float32).reshape(2, 16, 4, 4) + 1
    out = PadShortcut(32)(images)
    assert out.shape == (2, 32, 2, 2)
    assert torch.equal(out[:, 8:24], images[:, :, ::2, ::2])
    assert out[:, :8].count_nonzero() == 0
    assert out[:, 24:].count_nonzero() == 0


def _original_forward(state, images):
    """The published architecture, written against the names of its checkpoints alone."""

    def normalised(x, name):
        statistics = (state[f"{name}.running_mean"], state[f"{name}.running_var"])
        return F.batch_norm(x, *statistics, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.relu(normalised(F.conv2d(images, state["conv1.weight"], padding=1), "bn1"))
    for stage, planes in ((1, 16), (2, 32), (3, 64)):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            out = F.relu(normalised(out, f"{name}.bn1"))
            out = normalised(F.conv2d(out, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4))
            x = F.relu(out + x)
    x = F.avg_pool2d(x, x.size()[3]).flatten(1)
    return F.linear(x, state["linear.weight"], state["linear.bias"])


def test_resnet20_computes_what_the_published_architecture_computes():
    torch.manual_seed(0)
    model = cifar_resnet20().eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():  # else every batch norm is an identity
            if "bn" in name and value.is_floating_point():
                value.uniform_(0.5, 1.5)
        images = torch.randn(4, 3, 32, 32)
        ours, theirs = model(images), _original_forward(model.state_dict(), images)
    # The pools may sum their 64 values in another order: float rounding, relative to the logits.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def test_other_classes_and_channels_change_the_ends_only():
    model = cifar_resnet20(num_classes=7, in_channels=1).eval()
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
