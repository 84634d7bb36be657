"""Upkeep of the stage cache: what is in it, what can go, and whether it is sound."""
