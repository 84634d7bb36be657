"""Searches: sweeps whose points Optuna chooses on the way, by the records of those before."""
