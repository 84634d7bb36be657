"""Tables as users see them."""

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from qatexp.compare import collect, print_comparison, trials_table, variants_table
from qatexp.compare.grid import Column, Grid, to_markdown
from qatexp.compare.report import report
from qatexp.compare.variants import variants_notes
from qatexp.records import Agreement, Attempt, Certificate, Latency, Parity, Target, from_dict


def lines_of(shown, width=100):
    console = Console(file=io.StringIO(), width=width)
    if callable(shown):
        shown(console)
    else:
        console.print(shown)
    return console.file.getvalue().splitlines()


def printed(sweep, width=100):
    return lines_of(lambda console: print_comparison(sweep, console), width)


def test_a_run_has_a_row_per_variant_in_order(make_record):
    record = make_record()
    control = replace(record.variants["fp32"], deployed_top1=81.5, top1=81.5)
    table = variants_table(replace(record, variants={**record.variants, "control": control}))
    rows = [line.split() for line in lines_of(table)]
    assert [row[0] for row in rows[3:]] == ["fp32", "control", "ptq", "qat"]
    assert rows[-1] == [
        "qat",
        "269,722",
        "296.6",
        "kB",
        "0.800",
        "ms",
        "2.50x",
        "86.05",
        "%",
        "86.00",
        "%",
        "100.00",
        "%",
    ]


def test_the_columns_of_a_run_are_those_of_the_readme(make_record):
    assert [" ".join(str(c.header).split()) for c in variants_table(make_record()).columns] == [
        "variant",
        "params",
        "size",
        "latency p50 (1 thread)",
        "speedup",
        "top-1 (PyTorch)",
        "top-1 (deployed)",
        "MACs in int",
    ]


def test_the_latency_column_says_what_it_was_measured_with(make_record):
    record = make_record()
    points = (Latency(32, 4, 5.0, 6.0, 2.0), Latency(1, 1, 0.8, 0.9, 2.5))
    qat = replace(record.variants["qat"], latencies=points)
    record = replace(record, variants={"qat": qat})
    assert "(4 threads, batch 32)" in " ".join(lines_of(variants_table(record)))


def test_below_a_run_are_parity_operators_further_latencies_and_warnings(make_sweep, make_record):
    record = make_record(warnings=("calibrated on [2] images",))
    more = (*record.variants["qat"].latencies, Latency(32, 2, 14.93, 16.0, 2.583))
    qat = replace(record.variants["qat"], latencies=more, ops_float={"Softmax": 1})
    folder = make_sweep(replace(record, variants={**record.variants, "qat": qat}))
    text = " ".join(printed(collect(folder / "0"), width=300))
    for expected in (
        "agree on 99.72 % of 10,000 images (28 flipped); largest logit difference 0.0312",
        "ptq: 19 QLinearConv, 9 QLinearAdd in integers; float: none",
        "qat: 19 QLinearConv, 9 QLinearAdd in integers; float: 1 Softmax",
        "latency p50, 2 threads, batch 32: qat 14.9 ms (2.58x)",
        "measured on Test CPU",
        "warning: calibrated on [2] images",
    ):
        assert expected in text


def test_a_sweep_is_sorted_by_deployed_accuracy_and_marks_the_front(make_sweep, make_record):
    folder = make_sweep(
        make_record(bits=4, qat=84.0, size_bytes=160_000),
        make_record(bits=8, qat=86.0),
        make_record(bits=8, qat=85.0, lr=0.5),
    )
    rows = [line.split() for line in lines_of(trials_table(collect(folder)))][3:]
    assert [row[0] for row in rows] == ["1", "2", "0"]
    assert rows[0] == [
        "1",
        "*",
        "W8A8",
        "0.1",
        "81.00",
        "80.00",
        "86.00",
        "+6.00",
        "296.6",
        "0.800",
        "2.50x",
        "99.72",
    ]
    assert [row[1] for row in rows] == ["*", "W8A8", "*"]


def test_settings_that_do_not_differ_have_no_column(make_sweep, make_record):
    table = trials_table(collect(make_sweep(make_record(), make_record(lr=0.5))))
    assert [str(column.header) for column in table.columns][:3] == [
        "trial",
        "lr_scale",
        "top-1\nfp32",
    ]


def test_the_control_of_a_sweep_stands_beside_its_baseline(make_sweep, make_record):
    record = make_record(lr=0.5)
    control = replace(record.variants["fp32"], deployed_top1=81.5)
    asked = replace(record, variants={**record.variants, "control": control})
    table = trials_table(collect(make_sweep(make_record(), asked)))
    headings = [" ".join(str(column.header).split()) for column in table.columns]
    assert headings[2:6] == ["top-1 fp32", "top-1 control", "top-1 ptq", "top-1 qat"]
    shown = {line.split()[0]: line.split() for line in lines_of(table)[3:]}
    assert shown["1"][-8] == "81.50"
    assert shown["0"][-8] == "-"


def test_a_trial_without_qat_shows_what_it_has(make_sweep, make_record):
    folder = make_sweep(make_record(qat=None, parity=None), make_record(lr=0.5))
    rows = [line.split() for line in lines_of(trials_table(collect(folder)))][3:]
    assert rows[-1] == ["0", "0.1", "81.00", "80.00", "-", "-", "296.6", "0.800", "2.50x", "-"]


def test_a_record_without_any_quantized_variant_does_not_crash(make_sweep, make_record):
    record = make_record(parity=None)
    bare = replace(record, variants={"fp32": record.variants["fp32"]})
    text = " ".join(printed(collect(make_sweep(bare, make_record(lr=0.5)))))
    assert "0 0.1 81.00 - - - - - - -" in " ".join(text.split())
    assert "float" not in " ".join(printed(collect(make_sweep(bare, root="other") / "0")))


def test_failed_trials_are_listed_with_what_they_tried_and_why(make_sweep, make_record, failed):
    text = " ".join(" ".join(printed(collect(make_sweep(make_record(), failed)))).split())
    assert "cifar_resnet20-cifar10: 2 trials, 1 failed" in text
    assert (
        "trial 1 (lr\N{MULTIPLICATION SIGN}0.5) failed in qat (training): "
        "the loss is not finite [step 3]; lower schedule.qat.lr_scale=0.5"
    ) in text


def test_what_keeps_figures_from_comparing_is_a_warning(make_sweep, make_record):
    machines = [
        {"cpu": "A", "versions": {"onnxruntime": "1.24", "torch": "2.11"}},
        {"cpu": "B", "versions": {"onnxruntime": "1.24", "torch": "2.12"}},
        {"cpu": "A", "versions": {"onnxruntime": "1.24", "torch": "2.11"}},
    ]
    records = [make_record(lr=lr, environment=own) for lr, own in enumerate(machines)]
    found = report(collect(make_sweep(*records)))
    assert found.warnings == [
        "warning: latencies compare, and count for fronts and differences, only where trials "
        "agree in all of this: cpu A (trials 0, 2), B (trial 1)",
        "warning: figures may differ as versions do: torch 2.11 (trials 0, 2), 2.12 (trial 1)",
    ]
    assert found.notes[0].startswith("top-1, size, latency (not comparable) and speedup are")


def test_data_sets_are_listed_one_after_the_other(make_sweep, make_record):
    records = [
        make_record(lr=lr, qat=top1, data={"name": name})
        for lr, (top1, name) in enumerate([(60.0, "hard"), (99.0, "easy"), (70.0, "hard")])
    ]
    found = report(collect(make_sweep(*records)))
    assert [row[0].removesuffix(" *") for row in found.grid.rows] == ["2", "0", "1"]
    assert (
        "accuracies compare on one data set only, each has a front of its own: "
        "hard (trials 0, 2), easy (trial 1)"
    ) in found.notes


def test_every_machine_is_named(make_sweep, make_record):
    machine = {"cpu_count": 2, "threads": 1}
    records = [make_record(lr=lr, environment={"cpu": f"CPU {lr}", **machine}) for lr in (1, 2, 1)]
    text = "2 cores; trained with 1 thread"
    shown = report(collect(make_sweep(*records)))
    assert f"measured on CPU 1, {text} and on CPU 2, {text}" in shown.notes


def test_the_machine_is_named_with_its_cores_and_threads(make_sweep, make_record):
    machine = {"cpu": "Test CPU", "cpu_count": 2, "threads": 1}
    shown = printed(collect(make_sweep(make_record(environment=machine)) / "0"))
    assert "measured on Test CPU, 2 cores; trained with 1 thread" in shown


def test_a_ptq_file_that_beats_its_qat_file_is_named(make_sweep, make_record):
    better = make_record(ptq=86.5, qat=80.0, size_bytes=100_000, lr=0.5)
    shown = " ".join(" ".join(printed(collect(make_sweep(make_record(), better)))).split())
    assert "the ptq file is on the front, and beats the qat file, in trial 1" in shown


def test_a_pruned_trial_is_no_failure(make_sweep, make_record, failed):
    error = {"stage": "qat", "kind": "pruned", "message": "after epoch 1 of 3: trial 0 is better"}
    pruned = replace(failed, status="pruned", error=error)
    sweep = collect(make_sweep(make_record(), pruned))
    assert ([trial.name for trial in sweep.pruned], sweep.others) == (["1"], [])
    text = " ".join(" ".join(printed(sweep)).split())
    assert "2 trials, 1 pruned" in text
    assert "trial 1 (lr\N{MULTIPLICATION SIGN}0.5) was pruned in qat after epoch 1 of 3" in text
    assert not report(sweep).warnings


def test_an_interrupted_sweep_says_how_far_it_got(make_sweep, make_record, failed):
    error = {"stage": "qat", "kind": "KeyboardInterrupt", "message": "interrupted"}
    stopped = replace(failed, status="interrupted", error=error)
    sweep = replace(collect(make_sweep(make_record(), stopped)), planned=12)
    shown = printed(sweep)
    assert "cifar_resnet20-cifar10: 2 of 12 trials, 1 interrupted" in shown
    assert "trial 1 (lr\N{MULTIPLICATION SIGN}0.5) was interrupted in qat" in shown
    assert shown[-1] == "2 of 12 trials were started"


@pytest.mark.parametrize("single", [True, False], ids=["run", "sweep"])
def test_a_comparison_of_failures_alone_says_why_they_failed(make_sweep, failed, single):
    folder = make_sweep(failed)
    text = " ".join(" ".join(printed(collect(folder / "0" if single else folder))).split())
    assert f"{'run' if single else 'trial'} 0 failed in qat (training): the loss" in text


def test_warnings_name_the_trials_that_they_weaken(make_sweep, make_record):
    trials = [make_record(warnings=("everywhere", *(("here",) if i < 8 else ()))) for i in range(9)]
    text = " ".join(printed(collect(make_sweep(*trials))))
    assert "warning (all trials): everywhere" in text
    assert "warning (trials 0, 1, 2, 3, 4, 5, ...): here" in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_tables_fit_the_terminal_and_no_figure_breaks(make_sweep, make_record, width):
    folder = make_sweep(make_record(bits=4, ptq=12.5), make_record(lr=0.05))
    for sweep in (collect(folder), collect(folder / "0")):
        table = printed(sweep, width)
        assert max(len(line.rstrip()) for line in table) <= width
        assert not any("no room" in line for line in table)
        assert any(("86.00" in line and "99.72" in line) or "100.00 %" in line for line in table)


def test_a_narrow_terminal_does_without_columns_and_says_which(make_sweep, make_record):
    folder = make_sweep(make_record(bits=4), make_record(lr=0.05))
    table = printed(collect(folder), width=60)
    assert any("no room for lr_scale, parity %: see compare.md" in line for line in table)
    assert any("86.00" in line and "0.800" in line for line in table)


def test_figures_of_a_pooled_comparison_never_break(make_sweep, make_record):
    """Experiments differ in dozens of settings; those that the model tells are no columns."""
    led = {f"schedule.fp32.setting_{i}": i for i in range(12)}
    own = {f"target.setting_{i}": [1, 2, 5, 10] for i in range(12)}
    records = [make_record(), make_record(bits=4), make_record(bits=2)]
    changed = {**records[2].params, **led, **own, "model": "other"}
    extended = {**records[1].params, **own}
    records[1:] = [replace(records[1], params=extended), replace(records[2], params=changed)]
    sweep = collect(make_sweep(*records))
    lines = printed(sweep, width=80)
    assert max(map(len, lines)) <= 80
    (row,) = [line.split() for line in lines if line.startswith("0 ")]
    assert row[-6:] == ["86.00", "+6.00", "296.6", "0.800", "2.50x", "99.72"]
    assert any(line.startswith("with model goes schedule.fp32.setting_0, ") for line in lines)
    assert any("and 6 further settings" in line for line in lines)
    assert any(line.startswith("no room for setting_") for line in lines)


def test_settings_fold_where_nothing_else_helps(make_sweep, make_record):
    folder = make_sweep(make_record(bits=4), make_record(lr=0.05))
    table = printed(collect(folder), width=24)
    assert max(len(line) for line in table) <= 24


def test_markdown_keeps_characters_of_settings_from_breaking_the_table():
    grid = Grid((Column("a|b", is_number=False), Column("x\ny")), (("_lr_scale_*", "1"), ("", "2")))
    assert to_markdown(grid) == (
        "| a\\|b | x y |\n| --- | ---: |\n| \\_lr_scale\\_\\* | 1 |\n|  | 2 |"
    )


def test_a_sweep_shows_which_trials_have_met_their_target(make_record, make_sweep):
    met, missed = (Target(0.5, "val", (Attempt("qat", 1, drop),)) for drop in (0.5, 2.0))
    records = [make_record(bits=8, target=met), make_record(bits=2, qat=80.0, target=missed)]
    sweep = collect(make_sweep(*records, make_record(bits=4, qat=70.0)))
    table = trials_table(sweep)
    headings = [str(column.header) for column in table.columns]
    assert headings[:3] == ["trial", "bits", "target\nmet"]
    assert [line.split()[-9] for line in lines_of(table)[3:]] == ["yes", "no", "-"]
    assert (met_row := records[0].metrics())["target/met"] == 1.0
    assert met_row["target/drop"] == 0.5
    assert records[1].metrics()["target/met"] == 0.0


def test_a_run_tells_how_its_target_was_reached_and_what_its_certificate_says(make_record):
    steps = {
        "folding": Agreement(1.0, 0, 0.0005, 1, "stem"),
        "unoptimized": Agreement(1.0, 0, 0.0, 0, None),
        "optimized": Agreement(0.9, 2, None, None, None),
    }
    certificate = Certificate(
        images=20,
        weight_codes_moved=0,
        folded_equals_converted=True,
        reference_codes_share=0.999,
        reference_unmodelled=("Softmax",),
        **steps,
    )
    parity = Parity(0.9972, 0.03125, 28, 10_000, certificate)
    attempts = (Attempt("ptq", 0, 3.0), Attempt("qat", 2, 0.25))
    record = make_record(parity=parity, target=Target(0.5, "val", attempts))
    assert from_dict(json.loads(json.dumps(record.to_dict()))) == record
    newer = ("resumed", "shared")
    older = {key: value for key, value in record.to_dict().items() if key not in newer}
    assert from_dict(json.loads(json.dumps(older))) == record
    assert record.metrics()["parity/certificate/folding/codes_differ_share"] == 0.0005
    target, _, said = variants_notes(record)[:3]
    assert target == (
        "target: reached by qat after 2 epochs, which loses 0.25 points (val) of the 0.5 allowed; "
        "2 tried"
    )
    assert said == (
        "certificate on 20 images: folding moved 0 weight codes; folded equals converted bit for "
        "bit; activation codes that differ: 0.05 % (folding), 0 % (the file as written), "
        "- (the file as optimized); the integer reference predicts 99.9 % of the file's output "
        "codes (not modelled: Softmax)"
    )
