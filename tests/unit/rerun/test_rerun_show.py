import io
from dataclasses import replace

from rich.console import Console

from qatexp.rerun.reasons import Reason
from qatexp.rerun.show import print_verdict
from qatexp.rerun.verdict import Verdict, compare_figures, compare_latencies


def printed(original, rerun, *reasons):
    out = io.StringIO()
    verdict = Verdict(
        compare_figures(original, rerun), compare_latencies(original, rerun), tuple(reasons)
    )
    print_verdict(verdict, "run f00d", Console(file=out, width=100))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def changed(record, **fields):
    return replace(record, variants={"qat": replace(record.variants["qat"], **fields)})


def test_equal_figures_are_one_line(record):
    lines = printed(record, record)
    count = len(compare_figures(record, record))
    assert f"{count} figures equal" in lines
    assert "qat/latency_ms_p50 0.5 ms 0.5 ms 1.00x" in lines
    assert "latency: rerun over original, not judged" in lines
    assert lines[-1] == f"all {count} figures are equal, bit for bit"


def test_figures_that_differ_are_listed_with_their_difference(record):
    rerun = changed(record, top1=91.0, loss=0.1 + 1e-12)
    rerun = replace(rerun, data={**record.data, "fingerprint": "e" * 64})
    lines = printed(record, rerun, Reason("seed", 0, 1, "seed was set on purpose: 0 -> 1"))
    assert "qat/top1 90.5 91 +0.5" in lines
    assert f"qat/loss 0.1 {0.1 + 1e-12} +1e-12" in lines
    assert f"data/fingerprint {'d' * 16}... {'e' * 16}... different" in lines
    assert lines[-2:] == [
        "figures differ. What else differs between the two runs:",
        "- seed was set on purpose: 0 -> 1",
    ]


def test_differences_without_a_reason_are_said_to_have_none(record):
    text = " ".join(printed(record, changed(record, top1=91.0)))
    assert "figures differ, and nothing that the records hold explains it" in text


def test_reasons_that_changed_nothing_are_told(record):
    lines = printed(record, record, Reason("cpu", "a", "b", "CPU: a -> b"))
    assert "figures are equal, bit for bit, although:" in lines[-2]
    assert lines[-1] == "- CPU: a -> b"
