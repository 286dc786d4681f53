"""The DuckDB warehouse: its lock, its transactions, and how the rows of a day are merged, audited and sealed."""

import json
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from data_platform.errors import (
    BusyError,
    InputMovedError,
    RuleViolationError,
    WarehouseVersionError,
)
from data_platform.schemas import (
    ALERTS,
    CURRENT_SENTIMENT_VIEW,
    DAY_VERSIONS,
    SCHEMA_VERSION,
    TABLES,
    Column,
    Table,
)
from data_platform.storage.days import DaySpan
from data_platform.storage.locks import ProcessLock
from data_platform.storage.migrations import MIGRATIONS
from data_platform.storage.refusals import explained

logger = logging.getLogger(__name__)

Rows = TypeVar("Rows")
Result = TypeVar("Result")

DEFAULT_LOCK_TIMEOUT_SECONDS = 900.0
REFRESH_ATTEMPTS = 5
BYTES_OF_A_ROW = 400  # text that counts as one row, where rows are counted for what they weigh
# Files of this format are read by DuckDB 1.5 and 2.0; without it a 2.0 file does not open in 1.5.
STORAGE_VERSION = "v1.5.0"
DUCKDB_NAMES = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
# DuckDB's default is four fifths of the machine; past this it works on disk.
MEMORY_LIMIT = "512MB"
HELD_BY_ANOTHER = "Could not set lock on file"  # of DuckDB's message
ROWS_OF_THEIR_DAY = "rows_are_of_their_day"
GROWN_TIMES = 2.0  # what has doubled since it was told is worth telling again
_SAME_TROUBLE = "kind = ? AND subject = ? AND day IS NOT DISTINCT FROM ?"


@dataclass(frozen=True)
class RuleResult:
    """A blocking rule that was evaluated before a commit: what holds, and for how many rows."""

    name: str
    description: str
    row_count: int


@dataclass(frozen=True)
class DayWrite:
    """What one transaction did to one table and day; counts are rows.

    `changed` says whether the content of the day is another than before the transaction.
    """

    table: str
    day: date
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    row_count: int = 0
    digest: str = ""
    changed: bool = False
    numbers: Mapping[str, float] | None = None

    def with_numbers(self, **numbers: float) -> "DayWrite":
        """Return this write with further numbers for people (counts, shares, seconds)."""
        return replace(self, numbers={**(self.numbers or {}), **numbers})

    def after(self, earlier: "DayWrite") -> "DayWrite":
        """Return this write joined with an earlier one of the same table and day."""
        return replace(
            earlier,
            inserted=earlier.inserted + self.inserted,
            updated=earlier.updated + self.updated,
            deleted=earlier.deleted + self.deleted,
            row_count=self.row_count,
            digest=self.digest,
            changed=earlier.changed or self.changed,
        )


@dataclass(frozen=True)
class Trouble:
    """Something that a person should know of.

    Attributes:
        kind: what happened, such as `rule_broken`.
        subject: table, check, feed, file, job or sensor that it is about.
        evidence: numbers and keys that show it; never feedback text.
        day: partition that it is about; None if none or several.
        severity: 'error', or 'warning' where nothing is wrong but unusual.
        size: how large it is, where it can grow; None where it cannot.
    """

    kind: str
    subject: str
    evidence: str
    day: date | None = None
    severity: str = "error"
    size: float | None = None

    @property
    def identity(self) -> tuple[str, str, date | None]:
        """What it is about; the same trouble is told once until it is over."""
        return self.kind, self.subject, self.day


RULE_BROKEN = "rule_broken"


def check_subject(table: str, check: str) -> str:
    """Return how an alert names a check."""
    return f"{table}: {check}"


@dataclass(frozen=True)
class MergeCounts:
    """Rows that a merge inserted, updated, left as they were, and deleted."""

    inserted: int
    updated: int
    unchanged: int
    deleted: int

    def __add__(self, other: "MergeCounts") -> "MergeCounts":
        return MergeCounts(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.deleted + other.deleted,
        )


NOTHING = MergeCounts(0, 0, 0, 0)


class Transaction:
    """One open transaction on the warehouse; made by `Warehouse.transaction`.

    Attributes:
        connection: the DuckDB connection, session time zone UTC.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def arrow(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Return the rows of `sql` as an Arrow table."""
        # Not by sql(): with parameters, DuckDB 1.5 takes ten times as long there.
        return self.connection.execute(sql, list(parameters)).to_arrow_table()

    def count(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Return the single number that `sql` selects; null counts as 0."""
        row = self.connection.execute(sql, list(parameters)).fetchone()
        return int(row[0] or 0) if row else 0

    def digests(self, tables: Sequence[str], days: DaySpan) -> dict[date, dict[str, str]]:
        """Return the recorded digest of each table on each day; '' where it was never written."""
        found = self.connection.execute(
            f"SELECT day, table_name, digest FROM {DAY_VERSIONS.name}"
            " WHERE day BETWEEN ? AND ? AND list_contains(?, table_name)",
            [days.first, days.last, list(tables)],
        ).fetchall()
        digests = {day: dict.fromkeys(tables, "") for day in days}
        for day, table, digest in found:
            digests[day][table] = digest
        return digests

    def merge(
        self,
        table: Table,
        incoming: pa.Table | str,
        *,
        delete_where: str | None,
        within: str = "TRUE",
        parameters: Sequence[object] = (),
    ) -> MergeCounts:
        """Make the rows of `table` in the scope equal to `incoming`; rows already equal stay untouched.

        Args:
            incoming: rows in the columns of `table`; an Arrow table, or the name of a relation.
            delete_where: SQL over alias `t`: existing rows in the scope that are not in
                `incoming` and match it are deleted; None deletes nothing.
            within: SQL over alias `t` that every existing row with an incoming key matches; it
                bounds the part of the table that is read.
            parameters: values for the `?` in `within`.

        Raises:
            RuleViolationError: a key stands twice in `incoming` (MERGE would keep any of its
                rows), or a required column is null.
        """
        counts = self._merge(table, incoming, delete_where, within, parameters, None)
        return sum(counts.values(), NOTHING)

    def merge_days(
        self,
        table: Table,
        days: DaySpan,
        incoming: pa.Table | str,
        *,
        delete_where: str | None = "TRUE",
    ) -> dict[date, MergeCounts]:
        """Make the rows of `table` on `days` equal to `incoming`; see `merge`.

        Raises:
            RuleViolationError: as of `merge`, or a row of `incoming` belongs to another day.
        """
        where, parameters = days_filter(table, days, "t.")
        incoming = self._relation(table, incoming)
        self.require(
            ROWS_OF_THEIR_DAY,
            table,
            days,
            f"SELECT {table.key[0]} FROM {incoming} t WHERE NOT ({where})",
            parameters,
        )
        return self._merge(table, incoming, delete_where, where, parameters, days)

    def _relation(self, table: Table, incoming: pa.Table | str) -> str:
        if isinstance(incoming, str):
            return incoming
        self.connection.register(
            "arrow_incoming", incoming.select(table.column_names).cast(table.arrow_schema)
        )
        return "arrow_incoming"

    def _merge(
        self,
        table: Table,
        incoming: pa.Table | str,
        delete_where: str | None,
        within: str,
        parameters: Sequence[object],
        days: DaySpan | None,
    ) -> dict[date, MergeCounts]:
        """Merge; return what it did by day, all of it as of `date.min` where `days` is None."""
        incoming = self._relation(table, incoming)
        day = table.day_expression() if days else "NULL"
        self._audit_incoming(table, incoming, days)
        fates = self._fates_of_rows(table, incoming, delete_where, within, parameters, day)
        there = self.connection.execute(f"SELECT {day}, count(*) FROM {incoming} GROUP BY ALL")
        totals = {found or date.min: total for found, total in there.fetchall()}
        counts = {}
        for of_day in totals.keys() | {found for found, _ in fates}:
            inserted, updated, deleted = (
                fates.get((of_day, fate), 0) for fate in ("INSERT", "UPDATE", "DELETE")
            )
            unchanged = totals.get(of_day, 0) - inserted - updated
            counts[of_day] = MergeCounts(inserted, updated, unchanged, deleted)
        return counts

    def _fates_of_rows(
        self,
        table: Table,
        incoming: str,
        delete_where: str | None,
        within: str,
        parameters: Sequence[object],
        day: str,
    ) -> dict[tuple[date, str], int]:
        """Write; return how many rows of each day were touched by INSERT, UPDATE or DELETE."""
        names = table.column_names
        columns = ", ".join(names)
        scope = f"SELECT 1 FROM {table.name} t WHERE {within} LIMIT 1"
        if not self.connection.execute(scope, list(parameters)).fetchall():
            # Nothing to compare with: a third of the time of a MERGE.
            self.connection.execute(
                f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {incoming}"
            )
            found = self.connection.execute(
                f"SELECT {day}, count(*) FROM {incoming} GROUP BY ALL"
            ).fetchall()
            return {(of_day or date.min, "INSERT"): count for of_day, count in found}
        values = [name for name in names if name not in table.key]
        differs = " OR ".join(f"t.{n} IS DISTINCT FROM s.{n}" for n in values) or "FALSE"
        same_key = " AND ".join(f"t.{k} = s.{k}" for k in table.key)
        update = ", ".join(f"{n} = s.{n}" for n in values)
        fates: Counter[tuple[date, str]] = Counter()
        if delete_where is not None:
            # Not as a clause of the MERGE: DuckDB 1.5 evaluates a subquery there for each row.
            gone = self.connection.execute(
                f"DELETE FROM {table.name} t WHERE ({within}) AND ({delete_where})"
                f" AND NOT EXISTS (SELECT 1 FROM {incoming} s WHERE {same_key}) RETURNING {day}",
                list(parameters),
            ).fetchall()
            fates.update((of_day or date.min, "DELETE") for (of_day,) in gone)
        merged = self.connection.execute(
            f"MERGE INTO {table.name} t USING (SELECT {columns} FROM {incoming}) s"
            f" ON {same_key} AND ({within})"
            + (f" WHEN MATCHED AND ({differs}) THEN UPDATE SET {update}" if values else "")
            + f" WHEN NOT MATCHED THEN INSERT ({columns})"
            f" VALUES ({', '.join(f's.{n}' for n in names)}) RETURNING {day}, merge_action",
            list(parameters),
        ).fetchall()
        fates.update((of_day or date.min, action) for of_day, action in merged)
        return fates

    def seal_days(
        self,
        table: Table,
        days: DaySpan,
        counts: Mapping[date, MergeCounts],
        made_from: Mapping[date, Mapping[str, str]],
    ) -> list[DayWrite]:
        """Audit the rows of `days` against the table's rules and record the digest of each day.

        Args:
            counts: what was done on each day; a day that is missing was not touched.
            made_from: for each day, input tables and parameters with the digests the rows were
                made from.

        Raises:
            RuleViolationError: a blocking rule does not hold; the transaction must be rolled back.
        """
        self._audit(table, days)
        where, parameters = days_filter(table, days)
        columns = [c for c in table.columns if not c.is_volatile]
        found = self.day_digests(
            table.name, columns, table.day_expression(), days, where, parameters
        )
        before = self.digests([table.name], days)
        self.connection.execute(
            f"DELETE FROM {DAY_VERSIONS.name} WHERE table_name = ? AND day BETWEEN ? AND ?",
            [table.name, days.first, days.last],
        )
        now = datetime.now(UTC)
        writes = []
        for day in days:
            row_count, digest = found[day]
            done = counts.get(day, NOTHING)
            self.connection.execute(
                f"INSERT INTO {DAY_VERSIONS.name} VALUES (?, ?, ?, ?, ?, ?)",
                [
                    table.name,
                    day,
                    digest,
                    row_count,
                    json.dumps(dict(made_from.get(day, {})), sort_keys=True),
                    now,
                ],
            )
            writes.append(
                DayWrite(
                    table=table.name,
                    day=day,
                    inserted=done.inserted,
                    updated=done.updated,
                    unchanged=done.unchanged,
                    deleted=done.deleted,
                    row_count=row_count,
                    digest=digest,
                    changed=digest != before[day][table.name],
                )
            )
        return writes

    def require(
        self,
        rule: str,
        table: Table,
        days: DaySpan,
        violation_sql: str,
        parameters: Sequence[object] = (),
    ) -> None:
        """Evaluate a rule that spans tables: `violation_sql` selects one text per violation.

        Raises:
            RuleViolationError: it selected a row; the transaction must be rolled back.
        """
        violations = self.connection.execute(violation_sql, list(parameters)).fetchall()
        if violations:
            evidence = str(violations[0][0])[:200]
            raise RuleViolationError(table.name, str(days), rule, len(violations), evidence)

    def raise_alert(self, trouble: Trouble, seen_at: datetime) -> bool:
        """Add a row to `alerts`; if the trouble is known already, note it and return False.

        One that has grown to `GROWN_TIMES` the size that it was raised with escalates.
        """
        place = [trouble.kind, trouble.subject, trouble.day]
        again = self.connection.execute(
            f"UPDATE {ALERTS.name} SET last_seen_at = ?, evidence = ?,"
            f" occurrence_count = occurrence_count + 1 WHERE {_SAME_TROUBLE}"
            " AND (resolved_at IS NULL OR is_dismissed) RETURNING status, raised_size",
            [seen_at, trouble.evidence, *place],
        ).fetchall()
        for status, size in again:
            if status == "open" and size and (trouble.size or 0) >= GROWN_TIMES * size:
                self.connection.execute(
                    f"UPDATE {ALERTS.name} SET status = 'escalated', escalated_at = ?"
                    f" WHERE {_SAME_TROUBLE} AND status = 'open'",
                    [seen_at, *place],
                )
        if again:
            return False
        identity = json.dumps([*place, seen_at], default=str)
        self.connection.execute(
            f"INSERT INTO {ALERTS.name} BY NAME SELECT ? AS alert_id, ?::TIMESTAMPTZ AS raised_at,"
            " raised_at AS last_seen_at, ? AS severity, ? AS kind, ? AS subject, ?::DATE AS day,"
            " ? AS evidence, 'open' AS status, FALSE AS is_dismissed, 1 AS occurrence_count,"
            " ?::DOUBLE AS raised_size",
            [
                sha256(identity.encode()).hexdigest(),
                seen_at,
                trouble.severity,
                *place,
                trouble.evidence,
                trouble.size,
            ],
        )
        return True

    def resolve_alert(self, kind: str, subject: str, day: date | None, at: datetime) -> bool:
        """Note that a trouble is over; False if no such alert is open."""
        resolved = self.connection.execute(
            f"UPDATE {ALERTS.name} SET resolved_at = ?, status = 'resolved', snoozed_until = NULL"
            f" WHERE {_SAME_TROUBLE} AND resolved_at IS NULL RETURNING 1",
            [at, kind, subject, day],
        ).fetchall()
        return bool(resolved)

    def audit_all(self, table: Table) -> tuple[RuleResult, ...]:
        """Audit every row of an unpartitioned table."""
        return self._audit(table, None)

    def digest(
        self, table: Table, where: str = "TRUE", parameters: Sequence[object] = ()
    ) -> tuple[int, str]:
        """Return (row count, content digest) of the rows that match `where`."""
        columns = [c for c in table.columns if not c.is_volatile]
        return self.digest_of(table.name, columns, where, parameters)

    def digest_of(
        self, relation: str, columns: Sequence[Column], where: str, parameters: Sequence[object]
    ) -> tuple[int, str]:
        """Return (row count, digest) of `columns` of a table or view.

        The digest is the sum over rows of the MD5 of the row as two 64-bit halves: independent of
        the physical order of rows, sensitive to their number.
        """
        row = self.connection.execute(
            f"SELECT {_digest_sql()} FROM (SELECT {_row_md5_sql(columns)} AS md5 FROM {relation}"
            f" WHERE {where})",
            list(parameters),
        ).fetchone()
        return _digest(*row) if row else (0, EMPTY_DIGEST)

    def day_digests(
        self,
        relation: str,
        columns: Sequence[Column],
        day: str,
        days: DaySpan,
        where: str = "TRUE",
        parameters: Sequence[object] = (),
    ) -> dict[date, tuple[int, str]]:
        """Return (row count, digest) of each of `days`; see `digest_of`.

        Args:
            day: SQL for the day that a row of `relation` is of.
        """
        found = self.connection.execute(
            f"SELECT day, {_digest_sql()} FROM (SELECT {day} AS day,"
            f" {_row_md5_sql(columns)} AS md5 FROM {relation} WHERE {where}) GROUP BY day",
            list(parameters),
        ).fetchall()
        digests = {of_day: _digest(*sums) for of_day, *sums in found}
        return {of_day: digests.get(of_day, (0, EMPTY_DIGEST)) for of_day in days}

    def _audit(self, table: Table, days: DaySpan | None) -> tuple[RuleResult, ...]:
        """Evaluate all rules of `table` in one scan and one grouping over the rows of `days`."""
        where, parameters = days_filter(table, days) if days else ("TRUE", [])
        rows = f"(SELECT * FROM {table.name} WHERE {where})"
        day_text = str(days) if days else None
        required = [c.name for c in table.columns if c.required]
        predicates = [
            ("required_fields_are_present", " AND ".join(f"{n} IS NOT NULL" for n in required)),
            *((rule.name, rule.holds) for rule in table.row_rules),
        ]
        evidence_key = _key_evidence(table)
        selects = ["count(*)"]
        for _, holds in predicates:
            selects.append(f"count(*) FILTER (NOT coalesce({holds}, FALSE))")
            selects.append(f"min({evidence_key}) FILTER (NOT coalesce({holds}, FALSE))")
        self._audit_schema(table, day_text)
        row = self.connection.execute(
            f"SELECT {', '.join(selects)} FROM {rows}", parameters
        ).fetchone()
        assert row is not None  # an aggregate without GROUP BY always returns one row
        row_count = int(row[0])
        for position, (name, _) in enumerate(predicates):
            violations, example = row[1 + 2 * position], row[2 + 2 * position]
            if violations:
                raise RuleViolationError(table.name, day_text, name, violations, str(example)[:200])
        self._require_unique(table, day_text, rows, parameters)
        self._resolve_rules(table, days)
        return tuple(RuleResult(name, text, row_count) for name, text in table_rules(table).items())

    def _resolve_rules(self, table: Table, days: DaySpan | None) -> None:
        """A day that can be written again has no broken blocking rule any more."""
        of_days = "day BETWEEN ? AND ?" if days else "day IS NULL"
        self.connection.execute(
            f"UPDATE {ALERTS.name} SET resolved_at = ? WHERE kind = ? AND starts_with(subject, ?)"
            f" AND resolved_at IS NULL AND {of_days}",
            [
                datetime.now(UTC),
                RULE_BROKEN,
                check_subject(table.name, ""),
                *([days.first, days.last] if days else []),
            ],
        )

    def _audit_incoming(self, table: Table, incoming: str, days: DaySpan | None) -> None:
        """Refuse rows that a merge would not refuse as a rule."""
        day_text = str(days) if days else None
        some_null = " OR ".join(f"{c.name} IS NULL" for c in table.columns if c.required)
        row = self.connection.execute(
            f"SELECT count(*) FILTER ({some_null}),"
            f" min({_key_evidence(table)}) FILTER ({some_null}) FROM {incoming}"
        ).fetchone()
        null_count, example = row or (0, "")
        if null_count:
            raise RuleViolationError(
                table.name, day_text, "required_fields_are_present", null_count, example[:200]
            )
        self._require_unique(table, day_text, incoming, [])

    def _require_unique(
        self, table: Table, day_text: str | None, rows: str, parameters: Sequence[object]
    ) -> None:
        twice = self.connection.execute(
            f"SELECT {_key_evidence(table)} FROM {rows} GROUP BY {', '.join(table.key)}"
            " HAVING count(*) > 1",
            list(parameters),
        ).fetchall()
        if twice:
            raise RuleViolationError(
                table.name, day_text, "key_is_unique", len(twice), str(twice[0][0])[:200]
            )

    def _audit_schema(self, table: Table, day_text: str | None) -> None:
        found = self.connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?"
            " AND database_name = current_database() ORDER BY column_index",
            [table.name],
        ).fetchall()
        declared = [(c.name, DUCKDB_NAMES.get(c.type, c.type)) for c in table.columns]
        if found != declared:
            wrong = sorted(set(found) ^ set(declared))
            raise RuleViolationError(
                table.name, day_text, "schema_is_as_declared", len(wrong), str(wrong[:1])
            )


def _key_evidence(table: Table) -> str:
    """SQL for a row's key as one text, which names it to a person."""
    return " || ' / ' || ".join(f"coalesce({k}::VARCHAR, 'null')" for k in table.key)


def table_rules(table: Table) -> dict[str, str]:
    """Return name and description of every rule that a write of `table` is audited against."""
    required = ", ".join(c.name for c in table.columns if c.required)
    rules = {
        "key_is_unique": f"Unique: {', '.join(table.key)}.",
        "required_fields_are_present": f"Never null: {required}.",
        "schema_is_as_declared": "Columns and types are those of the schemas.",
    }
    if table.day_column:
        rules[ROWS_OF_THEIR_DAY] = f"Every {table.day_column} lies within the day's window in UTC."
    return rules | {rule.name: rule.description for rule in table.row_rules}


def days_filter(table: Table, days: DaySpan, alias: str = "") -> tuple[str, list[object]]:
    """Return SQL and parameters that select the rows of `days`, a half-open window in UTC."""
    if table.day_column is None:
        message = f"{table.name} has no day column"
        raise ValueError(message)
    column = f"{alias}{table.day_column}"
    if table.by_name[table.day_column].type == "DATE":
        return f"{column} BETWEEN ? AND ?", [days.first, days.last]
    return f"{column} >= ? AND {column} < ?", list(days.bounds)


def _row_md5_sql(columns: Sequence[Column]) -> str:
    """SQL for the MD5 of a row, as a number: no two different rows have the same text.

    The text is the lengths of the text columns (-1 for null), the other columns, then the texts,
    each behind a separator that no number, date or boolean holds.
    """
    texts = [c.name for c in columns if c.type == "VARCHAR"]
    parts = [
        *(f"coalesce(strlen({name}), -1)" for name in texts),
        *(f"coalesce({c.name}::VARCHAR, '')" for c in columns if c.type != "VARCHAR"),
        *(f"coalesce({name}, '')" for name in texts),
    ]
    return f"md5_number(concat_ws('|', {', '.join(parts)}))"


def _digest_sql() -> str:
    return "count(*), sum((md5 & ((1::UHUGEINT << 64) - 1))::HUGEINT), sum((md5 >> 64)::HUGEINT)"


def _digest(count: int, low: int | None, high: int | None) -> tuple[int, str]:
    mask = (1 << 64) - 1
    return count, f"{count:x}-{int(high or 0) & mask:016x}{int(low or 0) & mask:016x}"


EMPTY_DIGEST = _digest(0, 0, 0)[1]


class Warehouse:
    """Owner of one DuckDB file: one writer at a time, short transactions, closed in every case.

    Nobody else opens the file: dashboards and notebooks read the published snapshot.

    Args:
        database: path of the DuckDB file; created with its tables when missing.
        lock_timeout_seconds: how long a transaction waits for other processes.
    """

    def __init__(
        self, database: Path, lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    ) -> None:
        self.database = Path(database)
        self.lock_timeout_seconds = lock_timeout_seconds

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open the file, begin, yield, commit; roll back and close if the body raises.

        Raises:
            BusyError: other processes held the file for longer than the time limit.
            StorageError: the disk is full or read-only, or a right is missing.
            WarehouseVersionError: the file was written by a newer release.
        """
        _warm_up()
        with explained(self.database), self._locked():
            connection = self._connect()
            try:
                connection.execute("BEGIN")
                try:
                    _ensure_schema(connection, self.database)
                    yield Transaction(connection)
                except BaseException:
                    _roll_back(connection)
                    raise
                connection.execute("COMMIT")
            finally:
                connection.close()

    @contextmanager
    def exclusive(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the file, alone, without a transaction: for what replaces the file as a whole.

        Raises:
            BusyError: other processes held the file for longer than the time limit.
        """
        with self._locked():
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def at_rest(self) -> Iterator[Path]:
        """Yield the file while it holds all that was committed, and nobody opens it through us.

        Raises:
            BusyError: other processes held the file for longer than the time limit.
            StorageError: the disk is full or read-only, or a right is missing.
        """
        with explained(self.database), self._locked():
            connection = self._connect()
            try:
                connection.execute("CHECKPOINT")
            finally:
                connection.close()
            yield self.database

    def written(self, write: Callable[[Transaction], Result]) -> Result:
        """Do `write` in a transaction, and anew in another one if what it reads goes away.

        Raises:
            InputMovedError: that happened `REFRESH_ATTEMPTS` times in a row.
            RuleViolationError: a blocking rule does not hold; nothing was written.
        """
        for attempt in range(1, REFRESH_ATTEMPTS + 1):
            try:
                with self.transaction() as transaction:
                    return write(transaction)
            except InputMovedError as error:
                if attempt == REFRESH_ATTEMPTS:
                    raise
                logger.info("%s (attempt %s)", error, attempt)
        raise AssertionError  # the last attempt returns or raises

    def refresh_days(
        self,
        days: DaySpan,
        *,
        inputs: Sequence[str],
        read: Callable[[Transaction], Rows],
        compute: Callable[[Rows], pa.Table],
        write: Callable[[Transaction, pa.Table, Mapping[date, Mapping[str, str]]], list[DayWrite]],
    ) -> list[DayWrite]:
        """Read under the lock, compute without it, write under it in one transaction.

        If the digest of an input moved in between, the result is dropped and made again,
        so that two runs on one day never end with the older result.

        Args:
            write: given the transaction, the computed rows and the inputs' digests of each day.

        Raises:
            InputMovedError: the inputs moved `REFRESH_ATTEMPTS` times in a row.
            RuleViolationError: a blocking rule does not hold; nothing was written.
        """
        for attempt in range(REFRESH_ATTEMPTS):
            with self.transaction() as transaction:
                made_from = transaction.digests(inputs, days)
                rows = read(transaction)
            computed = compute(rows)
            with self.transaction() as transaction:
                if transaction.digests(inputs, days) == made_from:
                    return write(transaction, computed, made_from)
            logger.info("inputs of %s moved while it was computed (attempt %s)", days, attempt + 1)
        message = (
            f"{', '.join(inputs)} of {days} changed {REFRESH_ATTEMPTS} times while it was being"
            " computed; run it again when the other runs on that day have ended."
        )
        raise InputMovedError(message)

    def row_counts(self, table: Table, days: DaySpan) -> dict[date, int]:
        """Return the rows of `table` on each day that was written."""
        with self.transaction() as transaction:
            return dict(
                transaction.connection.execute(
                    f"SELECT day, row_count FROM {DAY_VERSIONS.name}"
                    " WHERE table_name = ? AND day BETWEEN ? AND ?",
                    [table.name, days.first, days.last],
                ).fetchall()
            )

    def text_weights(self, table: Table, days: DaySpan, column: str) -> dict[date, int]:
        """Return the rows of `table` on each day, a row of long text in `column` counted as several.

        What is computed outside of DuckDB is held in memory as a whole.
        """
        where, parameters = days_filter(table, days)
        with self.transaction() as transaction:
            return dict(
                transaction.connection.execute(
                    f"SELECT {table.day_expression()} AS day,"
                    f" greatest(count(*), coalesce(sum(strlen({column})), 0) // {BYTES_OF_A_ROW})"
                    f"::BIGINT FROM {table.name} WHERE {where} GROUP BY day",
                    parameters,
                ).fetchall()
            )

    def raise_alert(self, trouble: Trouble) -> bool:
        """Raise an alert in a transaction of its own; False if the trouble is known."""
        with self.transaction() as transaction:
            return transaction.raise_alert(trouble, datetime.now(UTC))

    @property
    def lock(self) -> ProcessLock:
        path = self.database.with_name(self.database.name + ".lock")
        return ProcessLock(path, str(self.database))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.database.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.held(self.lock_timeout_seconds):
            yield

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Open the file, waiting for programs that hold it without our lock."""
        deadline = time.monotonic() + self.lock_timeout_seconds
        told = False
        while True:
            try:
                connection = duckdb.connect(
                    str(self.database),
                    config={
                        "storage_compatibility_version": STORAGE_VERSION,
                        "memory_limit": MEMORY_LIMIT,
                    },
                )
            except duckdb.IOException as error:
                if HELD_BY_ANOTHER not in str(error):
                    raise
                if time.monotonic() > deadline:
                    message = (
                        f"Another program held {self.database} open for"
                        f" {self.lock_timeout_seconds:.0f} s: {_holding_program(error)}. Close it"
                        " there, and run again; nothing was written. Programs that only read should"
                        " open the published snapshot: readers never block it."
                    )
                    raise BusyError(message) from error
                if not told:
                    logger.warning(
                        "waiting for %s, held open by %s", self.database, _holding_program(error)
                    )
                    told = True
                time.sleep(random.uniform(0.05, 0.25))  # noqa: S311 (jitter, no secret)
            else:
                connection.execute("SET TimeZone = 'UTC'")
                # No query here relies on the order of rows that it does not ask for.
                connection.execute("SET preserve_insertion_order = false")
                return connection


@cache
def _warm_up() -> None:
    """Let DuckDB import what its first parameter needs (a second for pandas) outside of the lock."""
    with duckdb.connect() as connection:
        connection.execute("SELECT ?", [1])


def _holding_program(error: duckdb.IOException) -> str:
    """Return program and process as DuckDB names them, '/usr/bin/python3 (PID 123)', if it does."""
    found = re.search(r"held in (.+ \(PID \d+\))", str(error))
    return found[1] if found else "a process that is not named"


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Roll back, unless a fatal error (a full disk) has already invalidated the connection."""
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        logger.warning("the transaction could not be rolled back; the file is as it was before")


def _ensure_schema(connection: duckdb.DuckDBPyConnection, database: Path) -> None:
    """Create the tables in an empty file, migrate an older one; refuse a newer schema version."""
    exists = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'schema_version'"
    ).fetchone()
    if exists and exists[0]:
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        version = int(row[0]) if row else 0
        if version == SCHEMA_VERSION:
            return
        if version not in MIGRATIONS:
            message = (
                f"{database} has schema version {version}, this release works with"
                f" {SCHEMA_VERSION}. Install the release that wrote it, or move the file away to"
                " start a new one."
            )
            raise WarehouseVersionError(message)
        for step in range(version, SCHEMA_VERSION):
            logger.info("bringing %s from schema version %s to %s", database, step, step + 1)
            for statement in MIGRATIONS[step]:
                connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ?", [SCHEMA_VERSION])
    else:
        connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO schema_version VALUES (?)", [SCHEMA_VERSION])
        for table in TABLES.values():
            connection.execute(table.ddl)
    connection.execute(CURRENT_SENTIMENT_VIEW)
