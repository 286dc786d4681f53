"""The warehouse as a Dagster resource, and how its writes become materializations, checks and failures."""

import resource
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from data_platform.errors import DataPlatformError, RuleViolationError
from data_platform.schemas import TABLES, Column, Table
from data_platform.storage.days import DaySpan, spans_of
from data_platform.storage.warehouse import (
    DEFAULT_LOCK_TIMEOUT_SECONDS,
    NOTHING,
    RULE_BROKEN,
    DayWrite,
    MergeCounts,
    RuleResult,
    Trouble,
    Warehouse,
    check_subject,
    table_rules,
)

PEAK_MEMORY = "peak_memory_bytes"
DATA_VERSION_TAG = "dagster/data_version"
# Enough for both cores and for whole row groups of DuckDB (122,880 rows), little enough for the memory.
ROWS_PER_TRANSACTION = 250_000
ALL_RULES = "every_rule_holds"
FIRST_DAY, LAST_DAY, FAILING_DAYS = "first_day", "last_day", "failing_days"

StageEvent: TypeAlias = dg.AssetMaterialization | dg.AssetCheckResult | dg.MaterializeResult[Any]


class WarehouseResource(DuckDBResource):
    """The DuckDB warehouse: one writer at a time, closed in every case (dagster-duckdb's own
    connection stays open while an exception is held, and gives up after 102 s).
    """

    lock_timeout_seconds: float = Field(
        default=DEFAULT_LOCK_TIMEOUT_SECONDS,
        description="How long a transaction waits for other processes.",
    )

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(Path(self.database), self.lock_timeout_seconds)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection inside of one transaction, committed if the body does not raise."""
        with self.warehouse.transaction() as transaction:
            yield transaction.connection


def table_spec(
    table: Table,
    *,
    group: str,
    deps: Sequence[dg.AssetKey | str],
    partitions: dg.PartitionsDefinition[str] | None,
    code_version: str = "1",
    kinds: frozenset[str] = frozenset({"duckdb"}),
) -> dg.AssetSpec:
    """Return the asset spec of `table`, described from the schemas."""
    return dg.AssetSpec(
        key=table.name,
        deps=deps,
        description=table.description,
        metadata=table_metadata(table),
        group_name=group,
        code_version=code_version,
        owners=["team:feedback"],
        tags={"stage": group},
        kinds=set(kinds),
        partitions_def=partitions,
    )


def table_metadata(table: Table) -> dict[str, Any]:
    """Return table name, column schema and column lineage, as the UI shows them."""
    return {
        "dagster/table_name": f"main.{table.name}",
        "dagster/column_schema": dg.TableSchema(columns=[_table_column(c) for c in table.columns]),
        **lineage_metadata(table),
    }


def lineage_metadata(table: Table) -> dict[str, Any]:
    """Return the column lineage of `table`; empty if its columns come from outside."""
    deps = {
        column.name: [
            dg.TableColumnDep(
                asset_key=dg.AssetKey(origin.split(".")[0]), column_name=origin.split(".")[1]
            )
            for origin in column.derived_from
        ]
        for column in table.columns
        if column.derived_from
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)} if deps else {}


def rule_specs(table: Table, further: Mapping[str, str] | None = None) -> list[dg.AssetCheckSpec]:
    """Return the blocking checks of `table`: its own rules and `further` ones (name: text)."""
    return [
        dg.AssetCheckSpec(name, asset=table.name, description=text, blocking=True)
        for name, text in {**table_rules(table), **(further or {})}.items()
    ]


def refresh_partitions(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    tables: Sequence[Table],
    refresh: Callable[[DaySpan], list[DayWrite]],
    weigh: Callable[[DaySpan], Mapping[date, int]],
    further_rules: Mapping[str, Mapping[str, str]] | None = None,
    judge: Callable[[Sequence[DayWrite]], list[dg.AssetCheckResult]] | None = None,
) -> Iterator[StageEvent]:
    """Refresh the days of the run in order, several small ones in one transaction.

    If one of them breaks a rule, they are refreshed one by one: a run that fails on its third day
    leaves two days committed and logged. A day outside of the run that changed too (a post moved
    between days) is logged as well.

    In a run over several days Dagster repeats the closing result for each day, with one data
    version for all. So the days' own materializations are logged after it: the last event of a
    day says what is true of that day.

    Args:
        refresh: refreshes consecutive days in one transaction.
        weigh: how many rows each day is made from; a day that is missing has none.
        further_rules: rules beyond those of the table: table name to (name: text).
        judge: makes further check results from the writes of the run.

    Raises:
        dagster.Failure: a blocking rule did not hold, or an input kept moving.
    """
    days = [date.fromisoformat(day) for day in sorted(context.partition_keys)]
    weights = weigh(DaySpan.around(days)) if len(days) > 1 else {}
    waiting = deque(spans_of(days, weights, ROWS_PER_TRANSACTION))
    done: dict[tuple[str, date], DayWrite] = {}
    finished = 0
    while waiting:
        span = waiting.popleft()
        try:
            writes = refresh(span)
        except RuleViolationError as error:
            if len(span) == 1:
                yield from (day_materialization(write) for write in done.values())
                yield from fail_step(warehouse, error)
            waiting.extendleft(reversed([DaySpan.of(day) for day in span]))
            continue
        except DataPlatformError as error:
            yield from (day_materialization(write) for write in done.values())
            yield from fail_step(warehouse, error)
        for write in writes:
            place = (write.table, write.day)
            done[place] = write.after(done[place]) if place in done else write
        finished += len(span)
        context.log.info(f"{span.last} ({finished} of {len(days)}): {_summary(writes)}")
    for table in tables:
        own = [write for (name, _), write in done.items() if name == table.name]
        rules = {**table_rules(table), **((further_rules or {}).get(table.name, {}))}
        yield from (_passed_check(table, rule, own) for rule in rules)
    yield from judge(list(done.values())) if judge else []
    if len(days) == 1:
        for table in tables:
            write = done.pop((table.name, days[0]))
            yield dg.MaterializeResult(
                asset_key=table.name,
                metadata=_write_metadata(write),
                data_version=dg.DataVersion(write.digest),
            )
    else:
        yield from (dg.MaterializeResult(asset_key=table.name) for table in tables)
    yield from (day_materialization(write) for write in done.values())


def table_result(
    table: Table, row_count: int, digest: str, metadata: Mapping[str, Any] | None = None
) -> dg.MaterializeResult[Any]:
    """Return the result of a write of an unpartitioned table, with its digest as data version."""
    return dg.MaterializeResult(
        asset_key=table.name,
        metadata={
            "dagster/row_count": row_count,
            PEAK_MEMORY: peak_memory_bytes(),
            **lineage_metadata(table),
            **(metadata or {}),
        },
        data_version=dg.DataVersion(digest),
    )


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held so far (Linux gives kibibytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rules_spec(table: Table) -> dg.AssetCheckSpec:
    """Return the one blocking check of a table that is made as a whole: all of its rules.

    One for each rule would be 57 more events in a run of small tables: a third of its time.
    """
    rules = table_rules(table)
    listed = "\n".join(f"- {name}: {text}" for name, text in rules.items())
    return dg.AssetCheckSpec(ALL_RULES, asset=table.name, description=listed, blocking=True)


def rules_result(table: Table, rules: Sequence[RuleResult]) -> dg.AssetCheckResult:
    """Return the passed check of the rules that a write of a whole table held."""
    return dg.AssetCheckResult(
        passed=True,
        check_name=ALL_RULES,
        asset_key=table.name,
        metadata={
            "rows": max((rule.row_count for rule in rules), default=0),
            "rules": len(rules),
            "violations": 0,
        },
    )


def fail_whole(warehouse: Warehouse, error: DataPlatformError) -> Iterator[dg.AssetCheckResult]:
    """End the step of a table that is made as a whole; see `fail_step`.

    Raises:
        dagster.Failure: always.
    """
    yield from fail_step(warehouse, error, ALL_RULES)


def fail_step(
    warehouse: Warehouse, error: DataPlatformError, check_name: str | None = None
) -> Iterator[dg.AssetCheckResult]:
    """Yield the red check of a rule that stopped a write, then end the step in plain words.

    Args:
        check_name: of the check that stands for all rules of the table; None: one for each rule.

    Raises:
        dagster.Failure: always; its description is the error's message.
    """
    if isinstance(error, RuleViolationError):
        yield _failed_rule(warehouse, error, check_name or error.rule)
    raise dg.Failure(str(error), allow_retries=not isinstance(error, RuleViolationError)) from error


def _failed_rule(
    warehouse: Warehouse, error: RuleViolationError, check_name: str
) -> dg.AssetCheckResult:
    """Leave a row in `alerts` about a rule that stopped a write, and return the red check."""
    day = date.fromisoformat(error.day) if error.day else None
    evidence = f"{error.violation_count} row(s), for example {error.evidence}; nothing was written"
    subject = check_subject(error.table, error.rule)
    warehouse.raise_alert(Trouble(RULE_BROKEN, subject, evidence, day))
    return dg.AssetCheckResult(
        passed=False,
        check_name=check_name,
        asset_key=error.table,
        metadata={
            "rule": error.rule,
            "violations": error.violation_count,
            "example": error.evidence,
            FAILING_DAYS: error.day or "",
        },
    )


def _passed_check(table: Table, rule: str, writes: Sequence[DayWrite]) -> dg.AssetCheckResult:
    days = {write.day for write in writes}
    return dg.AssetCheckResult(
        passed=True,
        check_name=rule,
        asset_key=table.name,
        metadata={
            "rows": sum(write.row_count for write in writes),
            "violations": 0,
            **judged_days(days),
        },
    )


def judged_days(days: Collection[date], failing: Collection[date] = ()) -> dict[str, Any]:
    """Return the metadata that says which days a check looked at, and on which it does not hold.

    `alert_sensor` reads it: an alert is about one day, until that day is judged again.
    """
    return {
        "days": len(days),
        FIRST_DAY: min(days).isoformat() if days else "",
        LAST_DAY: max(days).isoformat() if days else "",
        FAILING_DAYS: ", ".join(day.isoformat() for day in sorted(failing)),
    }


def day_materialization(write: DayWrite) -> dg.AssetMaterialization:
    """Return the event that says what a write did, with the day's digest as data version."""
    key = dg.AssetKey(write.table)
    return versioned_materialization(key, write.day, write.digest, _write_metadata(write))


def versioned_materialization(
    key: dg.AssetKey, day: date, version: str, metadata: Mapping[str, Any]
) -> dg.AssetMaterialization:
    """Return the event that says that `day` of an asset stands in `version`.

    What depends on it is refreshed if the version is another than before.
    """
    return dg.AssetMaterialization(
        asset_key=key,
        partition=day.isoformat(),
        metadata=dict(metadata),
        tags={DATA_VERSION_TAG: version, f"{DATA_VERSION_TAG}_is_user_provided": "true"},
    )


def _write_metadata(write: DayWrite) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": write.row_count,
        "inserted": write.inserted,
        "updated": write.updated,
        "unchanged": write.unchanged,
        "deleted": write.deleted,
        "content_changed": write.changed,
        PEAK_MEMORY: peak_memory_bytes(),
        **lineage_metadata(TABLES[write.table]),
        **{
            f"records_{name}" if name in _RECORD_FATES else name: value
            for name, value in (write.numbers or {}).items()
        },
    }


_RECORD_FATES = ("read", "inserted", "merged", "unchanged")


def _summary(writes: Sequence[DayWrite]) -> str:
    counts: dict[str, MergeCounts] = {}
    for w in writes:
        done = MergeCounts(w.inserted, w.updated, w.unchanged, w.deleted)
        counts[w.table] = counts.get(w.table, NOTHING) + done
    return ", ".join(
        f"{table} +{c.inserted} ~{c.updated} ={c.unchanged} -{c.deleted}"
        for table, c in counts.items()
    )


def _table_column(column: Column) -> dg.TableColumn:
    return dg.TableColumn(
        name=column.name,
        type=column.type,
        description=column.description,
        constraints=dg.TableColumnConstraints(nullable=not column.required),
        tags={"personal": ""} if column.is_personal else {},
    )
