"""Recognises identifiers that a spreadsheet or a float destroyed, before any of their posts is landed."""

from dataclasses import dataclass, fields

import duckdb
import pyarrow as pa

from data_platform.errors import PermanentSourceError

# As Excel, pandas and R write a long number: 5.70306E+17, also with a decimal comma.
SCIENTIFIC = r"[+-]?\d([.,]\d+)?[eE]\+\d{2,3}"
FRACTIONAL = r"\d+[.,]0+"
EXCEL_DIGITS = 15  # what Excel keeps of a number; the digits behind become 0
FLOAT_BITS = 53  # what IEEE 754 keeps; above it, only every 2nd, 4th, 8th … number exists
# From here on chance is no explanation: 1 in 10^9, 1 in 2^30.
ZERO_DIGITS_AT_LEAST = 9
ZERO_BITS_AT_LEAST = 30
# Generators with a counter in the low 12 bits leave it at 0 more often than not: 72 % of 14,485
# tweets of 2015 do. That such an id is a whole float proves little.
COUNTER_STEP = 4096
BITS_OF_A_ZERO_COUNTER = 0.4
COLLAPSED_ROWS_AT_LEAST = 20
COLLAPSED_SHARE = 0.05
COLLAPSED_DATES_PER_ID = 10


@dataclass
class IdentityGuard:
    """Counts what the identifiers of one delivery look like, page by page.

    Attributes:
        id_count: records with an identifier.
        scientific_count: of them, those like 5.70306E+17.
        fractional_count: whole numbers with a fraction of zeros, like 570306133677760513.0.
        distinct_count: different identifiers, summed over pages.
        dated_count: different pairs of identifier and date, summed over pages.
        long_count: different identifiers of more than 15 digits.
        rounded_count: of them, those with nothing but zeros behind the 15th digit.
        zero_digit_count: how many digits these zeros are.
        large_count: different identifiers that a float holds only by chance (2^54 to 2^63).
        float_count: of them, those that a float holds exactly.
        zero_bit_count: how many bits must be 0 by chance for that; 0.4 for an id whose 12 low
            bits are, because generators leave a counter there.
        example: one of the suspicious identifiers.
    """

    id_count: int = 0
    scientific_count: int = 0
    fractional_count: int = 0
    distinct_count: int = 0
    dated_count: int = 0
    long_count: int = 0
    rounded_count: int = 0
    zero_digit_count: int = 0
    large_count: int = 0
    float_count: int = 0
    zero_bit_count: float = 0.0
    example: str = ""

    def add(self, other: "IdentityGuard") -> None:
        """Add the counts of another page."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.example = self.example or other.example

    @classmethod
    def of(cls, records: pa.Table, connection: duckdb.DuckDBPyConnection) -> "IdentityGuard":
        """Count the records (columns `source_id` and, if known, `posted_at`) of one page."""
        guard = cls()
        if not records.num_rows:
            return guard
        posted_at = "posted_at" if "posted_at" in records.column_names else "NULL"
        connection.register("identified", records)
        row = connection.execute(
            f"""
            WITH ids AS (
                SELECT trim(source_id) AS id, count(*) AS n,
                    CASE WHEN regexp_full_match(id, '[1-9]\\d{{15,18}}')
                         THEN TRY_CAST(id AS BIGINT) END AS number
                FROM identified WHERE source_id IS NOT NULL GROUP BY id
            ), judged AS (
                SELECT id, n, number, length(id) - {EXCEL_DIGITS} AS digits,
                    number IS NULL AND regexp_full_match(id, $scientific) AS is_scientific,
                    number IS NULL AND regexp_full_match(id, $fractional) AS is_fractional,
                    number IS NOT NULL AND number % pow(10, greatest(1, least(4, digits)))::BIGINT = 0
                        AS is_rounded,
                    floor(log2(number)) - {FLOAT_BITS} + 1 AS bits,
                    number::DOUBLE::HUGEINT = number AS is_float
                FROM ids
            )
            SELECT sum(n)::BIGINT AS id_count,
                sum(n) FILTER (is_scientific)::BIGINT AS scientific_count,
                sum(n) FILTER (is_fractional)::BIGINT AS fractional_count,
                count(*) AS distinct_count, count(*) AS dated_count, count(number) AS long_count,
                count(*) FILTER (is_rounded) AS rounded_count,
                sum(digits) FILTER (is_rounded)::BIGINT AS zero_digit_count,
                count(*) FILTER (bits > 1) AS large_count,
                count(*) FILTER (bits > 1 AND is_float) AS float_count,
                sum(CASE WHEN number % {COUNTER_STEP} = 0 THEN {BITS_OF_A_ZERO_COUNTER}
                    ELSE bits END) FILTER (bits > 1 AND is_float)::DOUBLE AS zero_bit_count,
                coalesce(min(id) FILTER (is_scientific OR is_fractional),
                    min(id) FILTER (is_rounded), min(id) FILTER (is_float), min(id)) AS example
            FROM judged
            """,
            {"scientific": SCIENTIFIC, "fractional": FRACTIONAL},
        ).to_arrow_table()
        for name, value in row.to_pylist()[0].items():
            setattr(guard, name, value or ("" if name == "example" else 0))
        if guard.distinct_count < guard.id_count:
            dated = connection.execute(
                f"SELECT count(DISTINCT (trim(source_id), {posted_at})) FROM identified"
                " WHERE source_id IS NOT NULL"
            ).fetchone()
            guard.dated_count = dated[0] if dated else 0
        connection.unregister("identified")
        return guard

    @property
    def finding(self) -> str | None:
        """What was done to the identifiers, with the numbers; None if they look well."""
        if not self.id_count:
            return None
        if self.scientific_count >= self.id_count / 2:
            return (
                f"{self.scientific_count:,} of {self.id_count:,} ids are in scientific notation,"
                " as a spreadsheet writes long numbers"
            )
        if self.fractional_count >= 0.9 * self.id_count:
            return (
                f"{self.fractional_count:,} of {self.id_count:,} ids end in .0: they were turned"
                " into floats"
            )
        if (
            self.rounded_count >= 0.9 * self.long_count
            and self.zero_digit_count >= ZERO_DIGITS_AT_LEAST
        ):
            return (
                f"{self.rounded_count:,} of {self.long_count:,} ids of more than"
                f" {EXCEL_DIGITS} digits have only zeros behind the {EXCEL_DIGITS}th, as a"
                " spreadsheet rounds them"
            )
        if (
            self.float_count >= 0.99 * self.large_count
            and self.zero_bit_count >= ZERO_BITS_AT_LEAST
        ):
            return (
                f"{self.float_count:,} of {self.large_count:,} ids above 2^54 are numbers that a"
                " 64-bit float holds exactly: they went through one and were rounded"
            )
        if (
            self.id_count >= COLLAPSED_ROWS_AT_LEAST
            and self.distinct_count <= max(1.0, COLLAPSED_SHARE * self.id_count)
            and self.dated_count >= COLLAPSED_DATES_PER_ID * self.distinct_count
        ):
            return (
                f"{self.id_count:,} records have only {self.distinct_count:,} different ids, with"
                f" {self.dated_count / self.distinct_count:,.0f} different dates for each"
            )
        return None

    def require_sound(self, file: str) -> None:
        """Refuse the delivery if its identifiers were destroyed.

        Raises:
            PermanentSourceError: the message gives the numbers and an example.
        """
        if (finding := self.finding) is not None:
            message = (
                f"{file}: {finding}; for example {self.example[:40]!r}. Different posts would"
                " become one. Nothing of this file was landed: export it again with the ids as"
                " text, or set trust_ids: true for the feed if they are right as they are."
            )
            raise PermanentSourceError(message)


COUNTS = tuple(f.name for f in fields(IdentityGuard) if f.name != "example")
