"""Experiments: stages, grids, executors, the store of records."""
