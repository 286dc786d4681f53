"""Tests of the connectors, each against files as they are found in the wild."""
