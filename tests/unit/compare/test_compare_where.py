"""`--where`: what expressions mean, in Python and in the page alike, and what mistakes say."""

import json
import shutil
import subprocess
from importlib.resources import files

import pytest

from qatexp.compare import collect, select
from qatexp.compare.where import WhereError, holds, parse, trial_values, vocabulary
from qatexp.errors import ConfigError

ROW = {
    "qconfig.bits": 4,
    "schedule.qat.lr_scale": 0.1,
    "qconfig.quantizer": "lsq",
    "schedule.qat.nesterov": True,
    "qconfig.first_last_bits": None,
    "target.epochs": [1, 2],
    "qat/deployed_top1": 98.5,
}
MEANINGS = {
    "qconfig.bits <= 4": True,
    "qconfig.bits < 4": False,
    "2 < qconfig.bits <= 4": True,
    "4 < qconfig.bits <= 8": False,
    "qconfig.bits = 4": True,
    "qconfig.bits != 4.0": False,
    "qconfig.bits > -1e3": True,
    "schedule.qat.lr_scale == .1": True,
    "qconfig.quantizer == 'lsq'": True,
    'qconfig.quantizer == "LSQ"': False,
    "qconfig.quantizer >= 'l'": True,
    "'sq' in qconfig.quantizer": True,
    "qconfig.quantizer in ['pact', 'lsq']": True,
    "qconfig.quantizer not in ('pact', 'dorefa',)": True,
    "2 in target.epochs": True,
    "3 in target.epochs": False,
    "target.epochs == [1, 2]": True,
    "target.epochs == [2, 1]": False,
    "qconfig.bits in []": False,
    "schedule.qat.nesterov": True,
    "not schedule.qat.nesterov": False,
    "schedule.qat.nesterov == true": True,
    "schedule.qat.nesterov == 1": False,
    "qconfig.first_last_bits == null": True,
    "qconfig.first_last_bits": False,
    "qconfig.first_last_bits < 8": False,
    "qconfig.first_last_bits >= 8": False,
    "qconfig.first_last_bits != None": False,
    "qconfig.quantizer < 4": False,
    "qconfig.bits == 'lsq'": False,
    "qat/deployed_top1 > 98 and qconfig.bits == 8": False,
    "qat/deployed_top1>98 or qconfig.bits==8 and false": True,
    "(qat/deployed_top1 > 98 or true) and false": False,
    "not not (qconfig.bits == 4)": True,
    "not qconfig.bits == 4 or true": True,
    "missing == null": True,
}
MISTAKES = {
    "qconfig.bits <=": "a name or a value is expected before the end",
    "": "a name or a value is expected before the end",
    "(qconfig.bits == 4": ") is expected before the end",
    "qconfig.bits == 4)": "and, or, or the end is expected before )",
    "qconfig.bits == 4 qconfig.bits": "and, or, or the end is expected before qconfig.bits",
    "qconfig.bits == 4 & true": "cannot read '& true'",
    "__import__('os')": "and, or, or the end is expected before (",
    "qconfig.quantizer in [lsq]": "a list holds values; text goes in quotes: 'lsq'",
    "qconfig.bits": "qconfig.bits is neither true nor false: compare it, qconfig.bits == ...",
    "false and qconfig.bits": "qconfig.bits is neither true nor false: compare it, "
    "qconfig.bits == ...",
    "(" * 60: "brackets are nested more than 40 deep",
    "and": "a name or a value is expected before and",
}


def outcome(text):
    try:
        return holds(parse(text, lambda name: "qconfig.quantizer" if name == "lsq" else name), ROW)
    except WhereError as problem:
        return str(problem)


@pytest.mark.parametrize(("text", "expected"), [*MEANINGS.items(), *MISTAKES.items()])
def test_an_expression_means(text, expected):
    assert outcome(text) == expected


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_page_reads_expressions_as_python_does():
    script = files("qatexp.compare.page").joinpath("where.js").read_text(encoding="utf-8")
    program = f"""{script}
    const row = {json.dumps(ROW)};
    const full = (name) => (name === "lsq" ? "qconfig.quantizer" : name);
    const outcome = (text) => {{
      try {{ return Where.holds(Where.parse(text, full), row); }}
      catch (problem) {{ return problem.message; }}
    }};
    console.log(JSON.stringify({json.dumps([*MEANINGS, *MISTAKES])}.map(outcome)));
    """
    run = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True)
    found = dict(zip([*MEANINGS, *MISTAKES], json.loads(run.stdout), strict=True))
    assert found == {**MEANINGS, **MISTAKES}


def test_names_are_full_keys_or_their_last_parts_or_figures(make_sweep, make_record, failed):
    sweep = collect(make_sweep(make_record(bits=4), make_record(), failed))
    names = vocabulary(sweep)
    assert names.resolve("bits") == "qconfig.bits"
    assert names.resolve("weight.bits") == "qconfig.weight.bits"
    assert names.resolve("lr_scale") == "schedule.qat.lr_scale"
    assert names.resolve("qat/deployed_top1") == "qat/deployed_top1"
    rows = trial_values(sweep)
    assert [row["trial"] for row in rows] == [0, 1, 2]
    assert [row["status"] for row in rows] == ["finished", "finished", "failed"]
    assert [row["pareto"] for row in rows] == [True, True, False]
    assert rows[0]["size_bytes"] == rows[0]["qat/size_bytes"] == 296_600


def test_a_name_that_several_keys_share_has_to_be_given_in_full(make_sweep, make_record):
    record = make_record()
    record.params.update({"schedule.fp32.epochs": 2, "schedule.qat.epochs": 3})
    names = vocabulary(collect(make_sweep(record)))
    with pytest.raises(
        WhereError,
        match=r"^epochs may be schedule\.fp32\.epochs or schedule\.qat\.epochs: give more of it$",
    ):
        names.resolve("epochs")
    assert names.resolve("qat.epochs") == "schedule.qat.epochs"


def test_of_several_keys_the_one_that_the_table_heads_so_is_meant(make_sweep, make_record):
    records = [make_record(), make_record()]
    for epochs, record in enumerate(records):
        record.params.update({"schedule.fp32.epochs": 2, "schedule.qat.epochs": epochs})
    assert vocabulary(collect(make_sweep(*records))).resolve("epochs") == "schedule.qat.epochs"


def test_a_filter_keeps_trials_and_counts_the_others(make_sweep, make_record, failed):
    sweep = collect(make_sweep(make_record(bits=4), make_record(), failed))
    kept = select(sweep, where=" bits <= 4 ")
    assert [trial.name for trial in kept.trials] == ["0"]
    assert (kept.where, kept.left_out) == ("bits <= 4", 2)
    assert [t.name for t in select(sweep, where="status == 'failed' or bits==4").trials] == [
        "0",
        "2",
    ]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        pytest.param("bitz <= 4", "unknown name bitz .* did you mean bits[?]", id="unknown"),
        pytest.param("zzz == 4", "unknown name zzz .* try bits or qat/deployed_top1", id="far-off"),
        pytest.param("bits > 8", r"^--where=bits > 8 holds for none of 2 trials: bits is 4, 8\.$",
                     id="nothing-left"),
        pytest.param("bits >", "^--where=bits >: a name .* allowed are comparisons", id="grammar"),
    ],
)  # fmt: skip
def test_a_wrong_filter_says_what_is_there(make_sweep, make_record, where, text):
    sweep = collect(make_sweep(make_record(bits=4), make_record()))
    with pytest.raises(ConfigError, match=text):
        select(sweep, where=where)


@pytest.mark.parametrize("option", ["where", "baseline"])
def test_a_single_run_has_nothing_to_choose_from(make_sweep, make_record, option):
    folder = make_sweep(make_record()) / "0"
    with pytest.raises(ConfigError, match=f"^--{option}=x: {folder} is a single run; give"):
        select(collect(folder), **{option: "x"})
