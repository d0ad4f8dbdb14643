"""Experiment trackers: what a finished run directory shows, and the runs, tables and lineage that mirror it."""
