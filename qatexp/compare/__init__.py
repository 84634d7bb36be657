"""Compare the variants of a run, or the trials of sweeps: tables, files, a page, a picture."""

from qatexp.compare.best import Best, Objection, best_trial
from qatexp.compare.collect import Sweep, Trial, collect, newest_sweep
from qatexp.compare.gather import gather
from qatexp.compare.pareto import pareto
from qatexp.compare.select import select
from qatexp.compare.show import print_comparison, trials_table, variants_table
from qatexp.compare.write import is_written, write_comparison

__all__ = [
    "Best",
    "Objection",
    "Sweep",
    "Trial",
    "best_trial",
    "collect",
    "gather",
    "is_written",
    "newest_sweep",
    "pareto",
    "print_comparison",
    "select",
    "trials_table",
    "variants_table",
    "write_comparison",
]
