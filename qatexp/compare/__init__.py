"""Compare the variants of a run, or the trials of a sweep: tables, files and a picture."""

from qatexp.compare.collect import Sweep, Trial, collect, newest_sweep
from qatexp.compare.pareto import pareto
from qatexp.compare.show import print_comparison, trials_table, variants_table
from qatexp.compare.write import write_comparison

__all__ = [
    "Sweep",
    "Trial",
    "collect",
    "newest_sweep",
    "pareto",
    "print_comparison",
    "trials_table",
    "variants_table",
    "write_comparison",
]
