"""The tables as they are declared: described, traceable, and without a person in what is published."""

import duckdb
import pytest

from data_platform.schemas import CURRENT_SENTIMENT_VIEW, STAGE_TABLES, TABLES

ALL = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


@ALL
def test_every_table_and_column_is_described(table):
    assert table.description.endswith(".")
    assert all(column.description.endswith(".") for column in table.columns)
    assert set(table.key) <= set(table.column_names)


@ALL
def test_lineage_points_at_columns_that_exist(table):
    for column in table.columns:
        for origin in column.derived_from:
            source, name = origin.split(".")
            assert name in TABLES[source].by_name, origin


def test_every_derived_column_says_where_it_comes_from():
    # What is measured of the sources comes from the ledger and the landing zone.
    first = {"raw_feedback", "quarantined_feedback", "source_health", "feed_coverage"}
    first |= {
        "pipeline_metrics",
        "erasures",
        "compliance_sweep",
    }  # of Dagster's log, and of the ledger
    for table in STAGE_TABLES:
        if table.name not in first:
            stated = {"model_name", "model_version", "model_fingerprint", "scored_at"}
            for column in table.columns:
                assert column.derived_from or column.name in stated, (table.name, column.name)


def test_nothing_personal_is_published():
    for table in TABLES.values():
        if table.is_published:
            assert not {c.name for c in table.published_columns} & {
                "author_id",
                "url",
                "source_metadata",
                "body",
                "title",
                "payload",
            }


def test_the_ddl_makes_the_declared_tables():
    with duckdb.connect() as connection:
        for table in TABLES.values():
            connection.execute(table.ddl)
            arrow = connection.sql(f"SELECT * FROM {table.name}").to_arrow_table()
            assert arrow.column_names == list(table.column_names)
            assert arrow.cast(table.arrow_schema).num_rows == 0
        connection.execute(CURRENT_SENTIMENT_VIEW)
