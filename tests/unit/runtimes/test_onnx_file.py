import onnx
import pytest
import torch
from torch import nn

from qatexp.config.schema import ExportConfig
from qatexp.errors import ExportError, StoreError
from qatexp.runtimes import onnxruntime
from qatexp.runtimes.onnx_file import write_onnx


def test_the_file_is_valid_and_says_how_it_is_called(exported):
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, logits.name) == ("images", "logits")
    batch, *sizes = image.type.tensor_type.shape.dim
    assert batch.dim_param == "batch"
    assert [size.dim_value for size in sizes] == [3, 8, 8]
    assert [opset.version for opset in model.opset_import if not opset.domain] == [21]


def test_the_file_holds_nothing_about_where_it_was_made(exported):
    """Up to a third of a small file, and paths of the machine that wrote it."""
    model = onnx.load(exported)
    graph = model.graph
    assert model.producer_name == "qatexp"
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        assert not part.doc_string
        assert not part.metadata_props
    assert not graph.value_info
    assert not model.functions
    assert b"site-packages" not in exported.read_bytes()


def test_writing_again_gives_the_same_bytes(network, images, exported, tmp_path):
    path = tmp_path / "again.onnx"
    write_onnx(network, images[:2], path, ExportConfig())
    assert path.read_bytes() == exported.read_bytes()


def test_a_fixed_batch_is_one_image(network, images, tmp_path):
    path = tmp_path / "fixed.onnx"
    write_onnx(network, images, path, ExportConfig(dynamic_batch=False))
    (image,) = onnx.load(path).graph.input
    assert [size.dim_value for size in image.type.tensor_type.shape.dim] == [1, 3, 8, 8]
    predict = onnxruntime.load(path, threads=1)
    with torch.no_grad():
        expected = network(images)
    # A file of one image takes three, one by one. ONNX Runtime sums in another order than torch.
    assert torch.allclose(predict(images), expected, atol=1e-5)


@pytest.mark.parametrize("opset", [21, 23])
def test_the_opset_is_the_one_asked_for(images, tmp_path, opset):
    path = tmp_path / "model.onnx"
    write_onnx(nn.Flatten(), images, path, ExportConfig(opset=opset))
    assert [item.version for item in onnx.load(path).opset_import if not item.domain] == [opset]


class Branching(nn.Module):
    """What it does depends on what it sees, which no graph can hold."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_exported_is_one_message_and_no_file(images, tmp_path, capfd):
    with pytest.raises(ExportError) as problem:
        write_onnx(Branching(), images, tmp_path / "bad.onnx", ExportConfig())
    text = str(problem.value)
    assert text.startswith("ONNX export to bad.onnx failed: Could not guard on data-dependent")
    assert "\n" not in text
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_pool_that_does_not_divide_the_image_is_refused_in_words(images, tmp_path):
    with pytest.raises(ExportError) as problem:
        write_onnx(nn.AdaptiveAvgPool2d(3), images, tmp_path / "a.onnx", ExportConfig())
    assert str(problem.value) == (
        "ONNX export to a.onnx failed: adaptive_avg_pool2d to [3, 3] from [8, 8] is not exported: "
        "the output size has to divide the input size, or the input size the output size"
    )


@pytest.mark.parametrize(
    ("output", "operators"),
    [
        pytest.param(1, ["GlobalAveragePool"], id="global"),
        pytest.param(8, [], id="8 of 8, as in AlexNet and VGG"),
        pytest.param(4, ["AveragePool"], id="4 of 8"),
        pytest.param(24, ["Resize"], id="24 of 8, as in VGG on small images"),
        pytest.param((2, 8), ["AveragePool"], id="2x8 of 8x8"),
    ],
)
def test_an_adaptive_pool_becomes_a_plain_one(images, tmp_path, output, operators):
    path = tmp_path / "pool.onnx"
    pool = nn.AdaptiveAvgPool2d(output)
    write_onnx(pool, images[:2], path, ExportConfig())
    found = [node.op_type for node in onnx.load(path).graph.node]
    assert [name for name in found if name != "Identity"] == operators
    # Means of at most 64 values, summed in another order.
    assert torch.allclose(onnxruntime.load(path, threads=1)(images), pool(images), atol=1e-6)


@pytest.mark.parametrize("include", [True, False], ids=["with padding", "without padding"])
def test_a_plain_pool_is_translated_as_the_exporter_does(images, tmp_path, include):
    path = tmp_path / "pool.onnx"
    pool = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=include)
    write_onnx(pool, images[:2], path, ExportConfig())
    assert torch.allclose(onnxruntime.load(path, threads=1)(images), pool(images), atol=1e-6)


def test_a_divisor_that_the_file_cannot_hold_is_refused(images, tmp_path):
    """The exporter drops it: the file would compute something else."""
    pool = nn.AvgPool2d(2, divisor_override=3)
    with pytest.raises(ExportError) as problem:
        write_onnx(pool, images, tmp_path / "a.onnx", ExportConfig())
    assert str(problem.value) == (
        "ONNX export to a.onnx failed: avg_pool2d with divisor_override=3 is not exported, as ONNX "
        "has no such pool: multiply the result of a plain avg_pool2d by a constant instead"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(images, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError):
        write_onnx(Branching(), images, path, ExportConfig())
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_missing_is_an_error_in_words(images, tmp_path):
    path = tmp_path / "missing" / "model.onnx"
    with pytest.raises(StoreError, match=f"^cannot write {path}: No such file or directory$"):
        write_onnx(nn.Flatten(), images, path, ExportConfig())
