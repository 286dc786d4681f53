"""Tests of the whole graph: the command line in real processes, on real files."""
