"""Environment variables by which a sweep speaks to its trials, in whichever process they run."""

from __future__ import annotations

PARENT_RUN = "QATEXP_PARENT_RUN"
"""The MLflow run of the sweep."""
SWEEP_STARTED = "QATEXP_SWEEP_STARTED"
"""When the sweep was started, or went on (Unix time)."""
TRIAL = "QATEXP_TRIAL"
"""Set in a process that runs one trial of a sweep: the number of the one that launched it."""
PROGRESS = "QATEXP_PROGRESS"
"""File into which the process of a trial writes how far it is."""
NEIGHBOURS = "QATEXP_NEIGHBOURS"
"""How many other trials run on the machine at the same time, at most."""
