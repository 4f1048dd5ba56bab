"""Measuring: the protocol of the published comparisons, as commands and functions."""
