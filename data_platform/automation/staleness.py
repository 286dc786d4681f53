"""Which days are out of date: segments not loaded yet, or a table made from other inputs than there are now."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from data_platform.cleaning.refresh import INPUTS as CLEANING_INPUTS
from data_platform.cleaning.refresh import Cleaning
from data_platform.ingestion.feeds import Feeds
from data_platform.reporting.marts import INPUTS as MART_INPUTS
from data_platform.reporting.marts import TOPIC_INPUTS, made_by
from data_platform.schemas import (
    CLEANED_FEEDBACK,
    DAILY_SENTIMENT,
    FCT_FEEDBACK,
    RAW_FEEDBACK,
    SENTIMENT_SCORES,
    TOPIC_SENTIMENT,
)
from data_platform.sentiment.scoring import Scoring
from data_platform.storage.warehouse import Transaction, Warehouse
from data_platform.warehouse.star import INPUTS as STAR_INPUTS


@dataclass(frozen=True)
class Staleness:
    """Knows from what each daily table should have been made.

    Attributes:
        feeds: the configured feeds and their landing zone.
        cleaning: the configured cleaning.
        scoring: the configured scoring.
    """

    feeds: Feeds
    cleaning: Cleaning
    scoring: Scoring

    def stale_days(self, warehouse: Warehouse) -> list[date]:
        """Return the open days that a refresh would change, in order."""
        with warehouse.transaction() as transaction:
            stale = self._unloaded(transaction) | self._outdated(transaction)
        return sorted(day for day in stale if day in self.feeds.open_days)

    def outdated_days(self, warehouse: Warehouse) -> list[date]:
        """Return the open days whose loaded posts are newer than the tables made from them."""
        with warehouse.transaction() as transaction:
            outdated = self._outdated(transaction)
        return sorted(day for day in outdated if day in self.feeds.open_days)

    def unloaded_closed_days(self, warehouse: Warehouse) -> list[date]:
        """Return the days that were loaded, are not open any more, and landed in another way since."""
        with warehouse.transaction() as transaction:
            loaded = self._loaded(transaction)
        return sorted(
            day
            for day, paths in loaded.items()
            if day not in self.feeds.open_days
            and paths != {s.path for s in self.feeds.landing.segments(self.feeds.names, day)}
        )

    def outdated_closed_days(self, warehouse: Warehouse) -> list[date]:
        """Return the days that are not open whose loaded posts are newer than later tables."""
        with warehouse.transaction() as transaction:
            outdated = self._outdated(transaction)
        return sorted(day for day in outdated if day not in self.feeds.open_days)

    def _loaded(self, transaction: Transaction) -> dict[date, set[str]]:
        """The loaded segments of each day."""
        loaded: dict[date, set[str]] = {}
        for day, path in transaction.connection.execute(
            "SELECT day, segment FROM loaded_segments WHERE list_contains(?, feed)",
            [self.feeds.names],
        ).fetchall():
            loaded.setdefault(day, set()).add(path)
        return loaded

    def _unloaded(self, transaction: Transaction) -> set[date]:
        """Days whose landing segments are not the loaded ones; of closed days it says nothing."""
        loaded, landed = self._loaded(transaction), self.feeds.landed_days()
        return {
            day
            for day in set(landed) | set(loaded)
            if set(landed.get(day, [])) != loaded.get(day, set())
        }

    def _outdated(self, transaction: Transaction) -> set[date]:
        """Days with a raw table that a later table was not made from."""
        stages = self._stages(made_by(transaction))
        made: dict[date, dict[str, tuple[str, Mapping[str, str]]]] = {}
        for table, day, digest, made_from in transaction.connection.execute(
            "SELECT table_name, day, digest, made_from FROM day_versions"
        ).fetchall():
            made.setdefault(day, {})[table] = (digest, json.loads(made_from))
        return {
            day
            for day, tables in made.items()
            if RAW_FEEDBACK.name in tables
            and any(
                self._expected(inputs, parameters, tables) != tables.get(name, ("", None))[1]
                for name, inputs, parameters in stages
            )
        }

    def _stages(
        self, of_marts: Mapping[str, str]
    ) -> list[tuple[str, Sequence[str], Mapping[str, str]]]:
        """Each daily table after raw_feedback, with its inputs and parameters."""
        return [
            (CLEANED_FEEDBACK.name, CLEANING_INPUTS, self.cleaning.made_from()),
            (FCT_FEEDBACK.name, STAR_INPUTS, {}),
            (SENTIMENT_SCORES.name, [CLEANED_FEEDBACK.name], self.scoring.made_from()),
            (DAILY_SENTIMENT.name, MART_INPUTS, of_marts),
            (TOPIC_SENTIMENT.name, TOPIC_INPUTS, of_marts),
        ]

    @staticmethod
    def _expected(
        inputs: Sequence[str],
        parameters: Mapping[str, str],
        tables: Mapping[str, tuple[str, Mapping[str, str]]],
    ) -> dict[str, str]:
        return {name: tables.get(name, ("", {}))[0] for name in inputs} | dict(parameters)
