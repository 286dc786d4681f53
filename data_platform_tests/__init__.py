"""The tests, path for path like the package, and `pipeline/` for the whole graph."""
