"""How rows are kept: the DuckDB warehouse, its published copy and the landing zone; knows no stage."""
