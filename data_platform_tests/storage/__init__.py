"""Tests of the storage layer: the warehouse file and the landing zone."""
