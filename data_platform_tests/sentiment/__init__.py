"""Tests of the models and of scoring."""
