"""Figures as files: complete, readable, and made without anything global."""

import subprocess
import sys
from dataclasses import replace

import matplotlib.figure
import pytest
from PIL import Image

from qatexp.errors import StoreError
from qatexp.figures import accuracy_by_variant, sensitivity_by_layer, trade_off, training_curves
from qatexp.records.sensitivity import Damage, Sensitivity

ROWS = [{"epoch": 1.0, "loss": 1.5, "lr": 0.1, "val_top1": 60.0}, {"epoch": 2.0, "loss": 0.7}]
LR = "schedule.qat.lr_scale"


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved, to look at what it says."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def remember(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", remember)
    return figures


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def is_image(path):
    with Image.open(path) as image:
        image.load()
        return image.format == "PNG" and min(image.size) > 100


def test_training_curves_have_a_column_per_training_with_its_last_values(tmp_path, drawn):
    path = tmp_path / "curves.png"
    training_curves({"fp32": ROWS, "control": [], "qat": ROWS[:1]}, path)
    assert is_image(path)
    assert len(drawn[0].axes) == 4
    assert {"fp32: 2 epochs", "qat: 1 epoch", "0.700", "60.00"} <= set(texts(drawn[0]))


def test_training_curves_without_validation_show_the_loss_alone(tmp_path, drawn):
    training_curves({"fp32": [{"epoch": 1.0, "loss": 1.0, "lr": 0.1}]}, tmp_path / "c.png")
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["training loss"]


def test_a_training_without_validation_beside_one_with_it_says_so(tmp_path, drawn):
    training_curves({"fp32": ROWS, "qat": ROWS[1:]}, tmp_path / "c.png")
    assert "not measured" in texts(drawn[0])


def test_training_curves_of_no_training_say_so(tmp_path, drawn):
    training_curves({"fp32": []}, tmp_path / "c.png")
    assert texts(drawn[0]) == ["Nothing was trained: 0 epochs"]


def test_accuracy_is_written_on_two_bars_per_variant_that_is_there(tmp_path, drawn, make_trial):
    path = tmp_path / "accuracy.png"
    accuracy_by_variant(make_trial(qat=None), path)
    assert is_image(path)
    assert {"81.05", "81.00", "80.05", "80.00"} <= set(texts(drawn[0]))
    assert len(drawn[0].axes[0].patches) == 4


def test_the_files_on_the_front_are_labelled_and_no_others(tmp_path, drawn, make_trial):
    sizes = [90_000, 180_000, 360_000]
    trials = [
        make_trial(qat=70.0 + 4 * i, ptq=60.0, size_bytes=size, **{LR: i})
        for i, size in enumerate(sizes)
    ]
    trade_off(trials, tmp_path / "pareto.png")
    labels = texts(drawn[0])
    times = "lr\N{MULTIPLICATION SIGN}"
    assert [labels.count(f"{times}{i}") for i in range(3)] == [2, 2, 3], (
        "one in the legend, one in the panel of sizes, and the best in that of latencies"
    )
    assert labels.count("ptq") == 1, "the legend"
    assert labels.count("fp32") == 3
    assert "Pareto front of all files (fp32, ptq, qat)" in labels


def test_a_ptq_file_on_the_front_is_labelled_by_what_it_depends_on(tmp_path, drawn, make_trial):
    trials = [make_trial(bits=bits, ptq=82.0 + bits, qat=70.0, **{LR: bits}) for bits in (4, 8)]
    trade_off(trials, tmp_path / "pareto.png")
    assert texts(drawn[0]).count("ptq W8A8") == 2
    assert not any("\N{MULTIPLICATION SIGN}" in text for text in texts(drawn[0]))


def test_a_front_is_drawn_for_each_data_set_and_none_of_times_that_do_not_compare(
    tmp_path, drawn, make_trial
):
    names = ["easy", "hard", "hard"]
    trials = [
        replace(make_trial(qat=qat, ptq=None, dataset=name, seed=i), data={"name": name})
        for i, (qat, name) in enumerate(zip([99.0, 60.0, 55.0], names, strict=True))
    ]
    trials[2] = replace(trials[2], environment={"cpu": "Other CPU"})
    trade_off(trials, tmp_path / "pareto.png")
    size, latency = drawn[0].axes
    labels = [
        sorted(text.get_text() for text in axes.texts if text.get_text())
        for axes in (size, latency)
    ]
    middle_dot = " \N{MIDDLE DOT} "
    assert labels[0] == [f"easy{middle_dot}seed 0", "fp32", f"hard{middle_dot}seed 1"]
    assert labels[1] == [f"easy{middle_dot}seed 0", "fp32"]
    assert latency.get_xlabel() == "latency p50, ms (not comparable)"


def test_accuracy_above_one_half_zooms_in_and_says_so(tmp_path, drawn, make_trial):
    accuracy_by_variant(make_trial(qat=99.0, ptq=97.6), tmp_path / "a.png")
    accuracy_by_variant(make_trial(qat=99.0, ptq=49.0), tmp_path / "b.png")
    starts = [figure.axes[0].get_ylim()[0] for figure in drawn]
    assert starts == [60.0, 0.0]
    assert "the axis starts at 60 %" in drawn[0].axes[0].get_ylabel()
    assert "starts" not in drawn[1].axes[0].get_ylabel()


def test_the_axis_of_validation_accuracy_ends_at_100_percent(tmp_path, drawn):
    rows = [
        {"epoch": float(i), "loss": 1.0, "val_top1": top1} for i, top1 in ((1, 90.0), (2, 100.0))
    ]
    training_curves({"fp32": rows}, tmp_path / "c.png")
    assert drawn[0].axes[1].get_ylim()[1] == 100.0


def test_of_many_trials_only_the_front_is_labelled_and_no_labels_overlap(
    tmp_path, drawn, make_trial
):
    trials = [
        make_trial(qat=85.0 - 0.1 * i, bits=8 - i % 3, **{LR: 0.1 * i, "seed": i})
        for i in range(30)
    ]
    trade_off(trials, tmp_path / "pareto.png")
    size, _ = drawn[0].axes
    labels = [text for text in size.texts if text.get_text()]
    assert [text.get_text() for text in labels] == [
        "W8A8 \N{MIDDLE DOT} lr\N{MULTIPLICATION SIGN}0 \N{MIDDLE DOT} seed 0",
        "fp32",
    ]
    boxes = [text.get_window_extent() for text in labels]
    assert not boxes[0].overlaps(boxes[1])


def test_ptq_that_fails_keeps_the_scale_and_is_named_in_the_legend(tmp_path, drawn, make_trial):
    trade_off([make_trial(ptq=11.4), make_trial(bits=4)], tmp_path / "pareto.png")
    assert "ptq below the axis, down to 11.40 %" in texts(drawn[0])
    assert drawn[0].axes[0].get_ylim()[0] > 70.0


def test_a_single_run_is_labelled_by_variant_and_has_no_front(tmp_path, drawn, make_trial):
    path = tmp_path / "pareto.png"
    trade_off([make_trial()], path)
    assert is_image(path)
    found = texts(drawn[0])
    assert {"ptq", "qat", "fp32"} <= set(found)
    assert "Pareto front" not in found


def test_nothing_to_draw_is_an_error_and_leaves_no_file(tmp_path, make_trial):
    path = tmp_path / "pareto.png"
    with pytest.raises(StoreError, match="no trial has finished with a quantized variant"):
        trade_off([make_trial(qat=None, ptq=None)], path)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_replaces_the_old_one_only_when_it_is_complete(tmp_path, monkeypatch, make_trial):
    path = tmp_path / "accuracy.png"
    path.write_text("old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    with pytest.raises(StoreError, match=r"cannot write .*accuracy\.png: No space left on device"):
        accuracy_by_variant(make_trial(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_importing_figures_and_compare_costs_neither_matplotlib_nor_torch():
    """`qatexp --help` and `qatexp compare` have to start at once; pyplot would be global state."""
    code = (
        "import sys, qatexp.figures, qatexp.compare; "
        "print([m for m in ('matplotlib', 'torch', 'mlflow', 'rich') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_sensitivities_have_a_column_per_tensor_and_a_line_per_bits(tmp_path, drawn):
    path = tmp_path / "sensitivity.png"
    rows = [
        Sensitivity(layer, tensor, bits, Damage(0.1, 0.2, 0.3, 10.0 * bits))
        for tensor in ("weight", "activation")
        for layer in ("conv1", "fc")
        for bits in (2, 4, 8)
        if (tensor, layer) != ("activation", "conv1")  # an input that stays in float
    ]
    sensitivity_by_layer(rows, path)
    assert is_image(path)
    assert [len(axes.lines) for axes in drawn[0].axes] == [3, 3, 3, 3]
    assert {"weight alone", "input alone", "conv1", "fc", "2 bits", "8 bits"} <= set(
        texts(drawn[0])
    )
