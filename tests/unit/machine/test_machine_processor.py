"""What Linux says of a processor is read the same way for records and for runtimes."""

from qatexp.machine import processor
from qatexp.machine.processor import cpu_description, flags_of, parsed

X86 = """processor\t: 0
model name\t: Any: 3 GHz
flags\t\t: fpu avx2

processor\t: 1
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimddp i8mm\n"


def test_the_first_processor_counts():
    assert parsed(X86) == {"processor": "0", "model name": "Any: 3 GHz", "flags": "fpu avx2"}


def test_features_have_two_names():
    assert flags_of(parsed(X86)) == {"fpu", "avx2"}
    assert flags_of(parsed(ARM)) == {"fp", "asimddp", "i8mm"}
    assert flags_of({}) == frozenset()


def test_other_systems_say_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert cpu_description() is None
