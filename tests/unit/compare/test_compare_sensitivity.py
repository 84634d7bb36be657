"""The table of sensitivities: the most sensitive layer first, and every figure in the CSV."""

import csv
from dataclasses import replace

from rich.console import Console

from qatexp.compare.sensitivity import print_sensitivity, sensitivity_grid, write_sensitivity
from qatexp.records.sensitivity import Damage, Sensitivity

ROWS = [
    Sensitivity(layer, "weight", bits, Damage(kl / bits, 0.01, drop, 6.0 * bits))
    for layer, kl, drop in (("conv1", 0.1, 0.5), ("layer1.0", 0.9, 3.25))
    for bits in (2, 8)
]


def test_the_most_sensitive_layer_comes_first():
    grid = sensitivity_grid(ROWS, "weight")
    assert [column.name for column in grid.columns] == [
        "layer", "drop 2 bit", "drop 8 bit", "SQNR 2 bit", "SQNR 8 bit", "KL 2 bit",
    ]  # fmt: skip
    assert grid.rows == (
        ("layer1.0", "+3.25", "+3.25", "12.0", "48.0", "0.45"),
        ("conv1", "+0.50", "+0.50", "12.0", "48.0", "0.05"),
    )


def test_a_network_whose_inputs_stay_in_float_has_an_empty_table():
    assert sensitivity_grid(ROWS, "activation").rows == ()


def test_the_csv_holds_every_figure_in_order_of_execution(tmp_path):
    written = write_sensitivity(ROWS, tmp_path, images=500)
    assert [path.name for path in written] == ["sensitivity.csv", "sensitivity.md"]
    with written[0].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "layer": "conv1", "tensor": "weight", "bits": "2",
        "kl": "0.05", "loss_increase": "0.01", "top1_drop": "0.5", "sqnr_db": "12.0",
    }  # fmt: skip
    assert len(rows) == len(ROWS)
    assert "| layer1.0 | +3.25 |" in written[1].read_text(encoding="utf-8")


def test_the_terminal_shows_both_tables_and_what_the_figures_are(capsys):
    print_sensitivity(ROWS, Console(width=100), images=1500)
    out = capsys.readouterr().out
    assert out.index("Weight of one layer") < out.index("layer1.0") < out.index("Input of one")
    assert " ".join(out.split()).endswith(
        "against FP32 on 1,500 training images; the layer with the largest KL divergence at the "
        "fewest bits first"
    )


def test_a_narrow_terminal_keeps_the_names_of_layers_whole(capsys):
    long = [replace(row, layer=f"features.13.block.2.{row.layer}") for row in ROWS]
    print_sensitivity(long, Console(width=46), images=1500)
    out = capsys.readouterr().out
    assert "\nfeatures.13.block.2.layer1.0 " in out
    assert "+3.25" in out
    assert "no room for SQNR 2 bit, SQNR 8 bit: see sensitivity.md" in " ".join(out.split())
