"""Drift: how the columns of a delivery differ from those of the delivery before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from data_platform.ingestion.connectors.columns import COLUMN_NAME, OPTIONAL, UNKNOWN_KIND

MAX_SHOWN = 20


@dataclass(frozen=True)
class Drift:
    """Columns that differ between two deliveries; names that do not look like names are masked.

    Attributes:
        added: columns that the delivery has and the one before had not.
        missing: columns that the one before had.
        retyped: columns whose values are of another kind now, as 'name: number → text'.
    """

    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.retyped)

    def __str__(self) -> str:
        parts = {"added": self.added, "missing": self.missing, "of another kind": self.retyped}
        return "; ".join(
            f"{what}: {', '.join(names[:MAX_SHOWN])}" for what, names in parts.items() if names
        )


def drift_of(before: Mapping[str, str], after: Mapping[str, str]) -> Drift:
    """Compare the column kinds of two deliveries (see `column_kinds`).

    A key that only some JSON records have is no drift, whether it appears or goes. Nor is text
    that happens to be all numbers.
    """

    def is_required(kinds: Mapping[str, str], name: str) -> bool:
        return not kinds[name].endswith(OPTIONAL)

    kinds_before = {name: kind.removesuffix(OPTIONAL) for name, kind in before.items()}
    kinds_after = {name: kind.removesuffix(OPTIONAL) for name, kind in after.items()}
    retyped = [
        f"{_shown(name)}: {kinds_before[name]} → {kind}"
        for name, kind in kinds_after.items()
        if name in before
        and kind != kinds_before[name]
        and UNKNOWN_KIND not in (kind, kinds_before[name])
        and kinds_before[name] != "text"
    ]
    return Drift(
        tuple(_shown(n) for n in after if n not in before and is_required(after, n)),
        tuple(_shown(n) for n in before if n not in after and is_required(before, n)),
        tuple(retyped),
    )


def drifted_fields(
    kinds: Sequence[tuple[str, str, datetime, int]], settled: timedelta = timedelta(days=1)
) -> dict[str, str]:
    """Say which fields of a platform's records hold another kind of value than at first.

    Args:
        kinds: field, kind, when the field was first seen with it, in how many records.
        settled: a field that appears later than this after the first one is new.

    Returns:
        By field: the kinds with their counts, or that it is new. Null is no kind.
    """
    if not kinds:
        return {}
    begin = min(first for _, _, first, _ in kinds)
    by_field: dict[str, list[tuple[str, datetime, int]]] = {}
    for name, kind, first, count in kinds:
        if kind != "null":
            by_field.setdefault(name, []).append((kind, first, count))
    found = {}
    for name, seen in by_field.items():
        if len(seen) > 1:
            found[_shown(name)] = ", ".join(f"{kind} in {count:,}" for kind, _, count in seen)
        elif seen[0][1] - begin > settled:
            found[_shown(name)] = f"new: {seen[0][0]} in {seen[0][2]:,}"
    return found


def _shown(name: str) -> str:
    """Return a column's name for people; one that could be a text of feedback is masked."""
    return name[:40] if name and COLUMN_NAME.fullmatch(name) else "(no name)"
