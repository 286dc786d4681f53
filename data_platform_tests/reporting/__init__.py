"""Tests of marts, snapshot and report."""
