"""`compare.html` as a document: one file, its data whole, and no text of users taken for tags."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from qatexp.compare import collect, select, write_comparison
from qatexp.compare.page.tiles import tiles

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>&amp;"
VOID = {"meta", "link", "input", "br", "img", "circle", "path"}
SCRIPTS = ("where.js", "svg.js", "charts.js", "page.js")


class Page(HTMLParser):
    """Tags with their attributes, texts, headings of sections, and whether all tags close."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag):
        return [data.strip() for where, data in self.texts if where == tag and data.strip()]

    @property
    def data(self):
        return json.loads(next(t for w, t in self.texts if w == "script" and t.startswith("{")))


@pytest.fixture
def page(make_sweep, make_record, failed):
    def make(*records, single=False, **choice):
        folder = make_sweep(*(records or (make_record(), make_record(bits=4, qat=84.0), failed)))
        sweep = collect(folder / "0" if single else folder)
        write_comparison(select(sweep, **choice), folder)
        return Page((folder / "compare.html").read_text(encoding="utf-8"))

    return make


def test_nothing_is_loaded_from_anywhere(page, make_record):
    found = page()
    text = json.dumps(found.tags) + "".join(data for _, data in found.texts)
    assert re.findall(r"https?:|//[a-z]|url\(|@import|fetch\(|import\(", text) == []
    assert [a for _, a in found.tags if "src" in a] == []
    assert [a["href"] for a in found.of("link")] == ["data:,"]
    (policy,) = [a["content"] for a in found.of("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")


def test_every_tag_closes_and_every_id_is_there_once(page):
    found = page()
    assert found.open == []
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.tags:
        for key in ("aria-labelledby", "aria-describedby", "for", "data-copy"):
            assert attributes.get(key, ids[0]) in ids


def test_text_of_users_is_never_a_tag(page, make_record, failed):
    evil = make_record(name=EVIL, warnings=(EVIL,))
    evil.params["model"] = EVIL
    error = {"stage": EVIL, "kind": EVIL, "message": EVIL}
    found = page(evil, make_record(), replace(failed, name=EVIL, error=error))
    assert len(found.of("script")) == 2
    assert found.of("img") == []
    assert found.data["trials"][0]["values"]["name"] == EVIL
    assert EVIL in " ".join(found.text("p"))
    assert any(EVIL in text for text in found.text("li"))


def test_the_data_hold_every_figure_in_the_records_units(page):
    data = page().data
    assert [trial["name"] for trial in data["trials"]] == ["0", "1", "2"]
    assert data["trials"][1]["variants"]["qat"]["deployed_top1"] == 84.0
    assert data["trials"][1]["variants"]["qat"]["size_bytes"] == 296_600
    whole = {**data["common"], **data["trials"][1]["values"]}
    assert (whole["qconfig.bits"], whole["model"]) == (4, "cifar_resnet20")
    assert data["trials"][2]["deployable"] is None
    assert data["vocabulary"]["short"]["bits"] == "qconfig.bits"
    assert data["fronts"]["size"] == [[[296_600, 86.0]]]


def test_numbers_that_json_does_not_know_are_null(page, make_record):
    record = make_record()
    qat = replace(record.variants["qat"], top1=float("nan"))
    found = page(replace(record, variants={**record.variants, "qat": qat}), make_record(bits=4))
    assert found.data["trials"][0]["variants"]["qat"]["top1"] is None


def test_the_table_sorts_by_columns_that_say_what_is_a_number(page):
    found = page()
    assert [a["id"] for a in found.of("table") if "id" in a] == ["trials"]
    headings = [a["class"] for a in found.of("th") if a["scope"] == "col"]
    assert headings[:3] == ["", "", "number"]
    assert set(headings[3:]) == {"number"}
    rows = [a["data-trial"] for a in found.of("tr") if "data-trial" in a]
    assert rows == ["0", "1"]


def test_each_chart_has_its_place(page):
    kinds = [a["data-chart"] for a in page().of("div") if "data-chart" in a]
    assert kinds == ["size", "latency", "lines", "gap", "parity"]


@pytest.mark.parametrize(
    ("slower", "heading"),
    [
        pytest.param(0.81, "fastest (within 5%)", id="as-good-as-the-fastest"),
        pytest.param(2.0, "fastest", id="clearly-slower"),
    ],
)
def test_a_file_is_not_called_fastest_beside_a_faster_one(make_sweep, make_record, slower, heading):
    """Of latencies that count as equal the more accurate file is shown."""
    records = make_record(qat=84.0, latency_ms=0.8), make_record(bits=4, latency_ms=slower)
    assert [tile.heading for tile in tiles(collect(make_sweep(*records)))][2] == heading


def test_tiles_name_what_stands_out_on_each_data_set(make_sweep, make_record):
    data = {"name": "easy"}, {"name": "hard"}
    slow = make_record(bits=4, qat=70.0, data=data[1], environment={"cpu": "Other CPU"})
    records = make_record(data=data[0]), make_record(qat=60.0, data=data[1]), slow
    found = {tile.heading: tile.figure for tile in tiles(collect(make_sweep(*records)))}
    assert list(found) == [
        *(f"{heading} (easy)" for heading in ("most accurate", "smallest", "fastest", "fp32")),
        *(f"{heading} (hard)" for heading in ("most accurate", "smallest", "fp32")),
    ]
    assert found["most accurate (hard)"] == "70.00 %"


def test_the_page_draws_a_front_for_each_data_set(page, make_record):
    data = {"name": "easy"}, {"name": "hard"}
    slow = make_record(bits=4, qat=50.0, data=data[1], environment={"cpu": "Other CPU"})
    found = page(make_record(data=data[0]), make_record(qat=60.0, ptq=1.0, data=data[1]), slow).data
    assert len(found["fronts"]["size"]) == 2
    assert len(found["fronts"]["latency"]) == 1
    assert found["latencyAxis"] == "latency p50, ms (not comparable)"


def test_seeds_have_a_section_where_they_were_swept(page, make_record):
    records = [make_record(qat=86.0 + seed) for seed in range(2)]
    for seed, record in enumerate(records):
        record.params["seed"] = seed
    found = page(*records)
    assert "Seeds: mean and spread" in found.text("h2")
    assert found.data["groups"][0]["trials"] == [0, 1]
    assert any("Welch" in text for text in found.text("li"))
    assert "86.00 .. 87.00" in found.text("td")


def test_without_seeds_there_is_no_such_section(page):
    assert "Seeds: mean and spread" not in page().text("h2")


def test_failures_have_a_section_with_stage_kind_and_message(page):
    found = page()
    assert "Trials without figures" in found.text("h2")
    assert "failed" in found.text("b")
    assert any("the loss is not finite [step 3]" in text for text in found.text("p"))
    assert any("in qat (training)" in text for text in found.text("div"))


def test_a_run_has_a_page_of_its_variants(page):
    kinds = [a["data-chart"] for a in page(single=True).of("div") if "data-chart" in a]
    assert kinds == ["size", "latency"]


def test_the_legend_names_every_kind_of_point(page, make_record):
    record = make_record()
    with_control = {**record.variants, "control": record.variants["fp32"]}
    found = page(replace(record, variants=with_control), single=True)
    kinds = [text for text in found.text("span") if text in with_control]
    assert kinds == ["qat", "ptq", "fp32", "control"]


def test_failures_alone_have_a_page(page, failed):
    found = page(failed)
    assert [a for a in found.of("div") if "data-chart" in a] == []
    assert "Trials without figures" in found.text("h2")


def test_baseline_and_filter_show_in_the_page(page):
    found = page(where="bits == 4", baseline="0")
    (title,) = found.text("h1")
    assert title.endswith(": 1 of 3 trials where bits == 4 (W4A4, lr\N{MULTIPLICATION SIGN}0.1)")
    assert any("diff\ntime %" in text for text in found.text("button"))
    assert [trial["name"] for trial in found.data["trials"]] == ["1"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_valid_and_have_no_end_tag(name, tmp_path):
    text = files("qatexp.compare.page").joinpath(name).read_text(encoding="utf-8")
    assert "</" not in text
    (tmp_path / name).write_text(text)
    subprocess.run(["node", "--check", str(tmp_path / name)], check=True)


DRAW = """
const texts = [];
const Svg = {
  add: () => ({ style: {}, prepend() {} }), canvas: () => ({ root: { prepend() {} }, width: 800, height: 300 }),
  axes: () => ({ sx: (v) => v, sy: (v) => v, edge: { left: 0, right: 800 } }), span: () => ({ low: 0, high: 1 }),
  scale: () => (v) => v, mark: (root, kind, { tip }) => { texts.push(tip); return { querySelector: () => ({ style: {} }) }; },
  labels: () => {}, niceTicks: () => [], plain: String,
};
"""  # noqa: E501
"""Drawing that keeps what a reader sees when pointing at a mark."""


@pytest.fixture
def tips(page, tmp_path):
    """Tips of a chart, from the very script of the page."""

    def make(*records, **dataset):
        script = files("qatexp.compare.page").joinpath("charts.js").read_text(encoding="utf-8")
        program = (
            f"const DATA = {json.dumps(page(*records).data)};{DRAW}{script}"
            f"const host = {{ dataset: {json.dumps(dataset)}, clientWidth: 800 }};"
            "const state = { kept: new Set(Charts.finished), colours: Charts.colours(null) };"
            "Charts.draw(host, state, () => {});"
            "console.log(JSON.stringify(texts));"
        )
        run = subprocess.run(
            ["node", "-"], input=program, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    return make


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_lines_count_seeds_and_not_trials(tips, make_record):
    runs = [(0.1, 0, 90.0), (0.1, 0, 90.2), (0.1, 1, 91.1), (0.5, 0, 80.0), (0.5, 0, 80.0)]
    records = [make_record(lr=lr, qat=top1) for lr, _, top1 in runs]
    for record, (_, seed, _) in zip(records, runs, strict=True):
        record.params["seed"] = seed
    one, other = tips(*records, chart="lines", knob="0")
    assert one.splitlines()[1:] == [
        "mean 90.60 %, 90.10 to 91.10 % over 2 seeds",
        "trials 0, 1, 2",
    ]
    assert other.splitlines()[1:] == ["80.00 %", "trials 3, 4"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("chart", ["size", "latency", "parity"])
def test_charts_draw_trials_that_do_not_compare(tips, make_record, chart):
    records = [make_record(data={"name": name}, environment={"cpu": name}) for name in "ab"]
    assert any("qat: " in tip for tip in tips(*records, chart=chart))
