"""When each table is refreshed by itself, and from when on it counts as stale: conditions and freshness policies."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from data_platform.schemas import (
    COMPLIANCE_SWEEP,
    FEED_COVERAGE,
    QUARANTINED_FEEDBACK,
    SOURCE_HEALTH,
)

Condition = dg.AutomationCondition[Any]

# Every feed opens its new day soon after midnight (UTC), and every table follows.
FRESHNESS = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=30), warn_window=timedelta(hours=26)
)


def _handled() -> Condition:
    """Requested here. What another run did does not count: it may have read before the change."""
    requested = dg.AutomationCondition.newly_requested()
    return (requested | dg.AutomationCondition.initial_evaluation()).with_label("handled")


def _pending(changed: Condition) -> Condition:
    """`changed` was true when this was last handled, or after.

    Not `changed.since(handled)`, as in `AutomationCondition.eager()`: where both are true in one
    evaluation, that forgets the change (Dagster 1.13.27 orders the two by their times only for a
    bare `newly_updated`). A file that lands between a request and the next evaluation is such a
    case: seen in a test.
    """
    ever = changed.since(dg.AutomationCondition.initial_evaluation())
    return (ever & ~_handled().since(changed)).with_label("pending")


def _calm() -> Condition:
    """Neither this table nor what it is made from is being written, by a run or a backfill."""
    return ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()


def _any_input(
    changed: Condition, label: str, inputs: dg.AssetSelection | None = None
) -> Condition:
    """One of the inputs matches `changed`, or is about to be refreshed in the same run."""
    elsewhere = changed & ~dg.AutomationCondition.executed_with_root_target()
    matches = dg.AutomationCondition.any_deps_match(
        elsewhere.with_label(label) | dg.AutomationCondition.will_be_requested()
    )
    return matches.allow(inputs) if inputs else matches


def _try_again() -> Condition:
    """The last run failed, and an hour has begun since: a full disk or a lock may have passed."""
    hour = dg.AutomationCondition.cron_tick_passed("0 * * * *").since(_handled())
    return (dg.AutomationCondition.execution_failed() & hour).with_label("failed_an_hour_ago")


def _never_made() -> Condition:
    """There is none yet, and it was not tried in vain: what came before the first look counts too."""
    return dg.AutomationCondition.missing() & ~dg.AutomationCondition.execution_failed()


def changed_days() -> Condition:
    """A day of which an input has another data version than before.

    As `AutomationCondition.eager()`, but for old days too, whether or not every feed has that
    day, and not for an input that was materialized without a change. Days that nobody ever
    delivered are not asked for, and days that failed are left to `stale_days_sensor`.
    """
    changed = _any_input(dg.AutomationCondition.data_version_changed(), "input_changed")
    return (_pending(changed) & _calm()).with_label("changed_days")


def after_changes() -> Condition:
    """Any day of any input has changed: once for all days, at most once a minute."""
    changed = _any_input(dg.AutomationCondition.data_version_changed(), "input_changed")
    minute = dg.AutomationCondition.cron_tick_passed("* * * * *").since(_handled())
    due = (_pending(changed) & minute) | _never_made() | _try_again()
    return (due & _calm()).with_label("after_changes")


def after_collections() -> Condition:
    """A feed was collected, well or not (refused records and errors change no day), or an input changed."""
    failed = dg.AutomationCondition.execution_failed().newly_true()
    collected = _any_input(
        dg.AutomationCondition.newly_updated() | failed,
        "feed_collected",
        dg.AssetSelection.key_prefixes("feed"),
    )
    changed = _any_input(dg.AutomationCondition.data_version_changed(), "input_changed")
    due = _pending(collected | changed) | _never_made() | _try_again()
    return (due & _calm()).with_label("after_collections")


def with_upkeep(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Return `assets` with freshness policies, and conditions for all that sensors do not collect."""

    def keep_up(spec: dg.AssetSpec) -> dg.AssetSpec:
        spec = dg.apply_freshness_policy(spec, FRESHNESS)
        if spec.key.path[0] == "feed":
            return spec
        if spec.key.to_user_string() in (
            QUARANTINED_FEEDBACK.name,
            SOURCE_HEALTH.name,
            FEED_COVERAGE.name,
            COMPLIANCE_SWEEP.name,
        ):
            condition = after_collections()
        elif spec.partitions_def is not None:
            condition = changed_days()
        else:
            condition = after_changes()
        return spec.replace_attributes(automation_condition=condition)

    return list(dg.map_asset_specs(keep_up, assets))
