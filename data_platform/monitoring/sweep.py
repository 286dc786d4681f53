"""Which posts of platforms have to be asked for again, and by when, so that edits and deletions follow."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from data_platform.feed_settings import ApiFeed, interval
from data_platform.ingestion.connectors.registry import connector_class
from data_platform.ingestion.feeds import Feeds
from data_platform.schemas import COMPLIANCE_SWEEP
from data_platform.storage.warehouse import MergeCounts, RuleResult, Transaction

# A post is due after `recheck_after`; a feed that is not well has so long to catch up.
GRACE = timedelta(days=1)
_NEVER = datetime.fromtimestamp(0, UTC)


def plan_sweep(feeds: Feeds, now: datetime) -> pa.Table:
    """Return what each pulled feed has to ask for again, in the columns of compliance_sweep.

    What a listing shows again by itself counts as seen, so only what no listing shows costs a
    request of its own; a collection asks for the longest unseen first.
    """
    rows: list[dict[str, Any]] = []
    for name in feeds.names:
        feed = feeds.settings.feed(name)
        if isinstance(feed, ApiFeed):
            rows += _planned(feeds, feed, now)
    return pa.Table.from_pylist(rows, schema=COMPLIANCE_SWEEP.arrow_schema)


def refresh_sweep(
    transaction: Transaction, plan: pa.Table
) -> tuple[MergeCounts, tuple[RuleResult, ...]]:
    """Make compliance_sweep hold `plan`."""
    transaction.connection.register("planned_sweep", plan)
    counts = transaction.merge(COMPLIANCE_SWEEP, "planned_sweep", delete_where="TRUE")
    return counts, transaction.audit_all(COMPLIANCE_SWEEP)


def _planned(feeds: Feeds, feed: ApiFeed, now: datetime) -> list[dict[str, Any]]:
    platform = connector_class(feed.kind)
    reason = None
    if not platform.can_recheck():
        reason = f"the platform cannot be asked for single posts; {platform.traits.deletions}"
    elif feed.recheck_after is None:
        reason = f"recheck_after is not set; {platform.traits.deletions}"
    age = interval(feed.recheck_after) if feed.recheck_after and not reason else None
    due_before, overdue_before = (now - age, now - age - GRACE) if age else (_NEVER, _NEVER)
    return [
        {
            "feed": feed.name,
            "last_seen_date": day,
            "post_count": count,
            "due_at": first + age if age else None,
            "deadline_at": first + age + GRACE if age else None,
            "due_count": due,
            "overdue_count": overdue,
            "request_count": (
                -(-count // platform.asked_at_once) if platform.can_recheck() else None
            ),
            "reason": reason,
        }
        for day, count, first, due, overdue in feeds.ledger.sightings(
            feed.name, due_before, overdue_before
        )
    ]
