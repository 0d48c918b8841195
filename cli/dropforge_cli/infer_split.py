"""How the rows of a table nobody described are held out: by time where a column orders them, by group where an identifier repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dropforge.datasets.table_schema import Kind

_EVENTS = (
    *(
        "date",
        "time",
        "timestamp",
        "datetime",
        "day",
        "month",
        "week",
        "when",
        "pickup",
        "start",
        "started",
        "order",
        "ordered",
    ),
    *(
        "purchase",
        "created",
        "arrival",
        "transaction",
        "event",
        "invoice",
        "booking",
        "checkin",
        "sold",
        "sale",
        "period",
    ),
)
_PARTS = {"month", "week", "day", "quarter", "date", "mon", "dow", "weekday"}  # of when a row was
_BIRTHS = ("birth", "born", "dob", "birthday", "birthdate")
_OWNERS = (
    *(
        "id",
        "uuid",
        "guid",
        "customer",
        "user",
        "client",
        "patient",
        "subject",
        "account",
        "policy",
        "member",
        "device",
    ),
    *("machine", "person", "household", "session", "employee", "student", "player", "donor", "vehicle", "contract"),
)
_IN_ORDER = 0.95  # of neighbouring rows, from which the file is in order of the column
_FEWEST_GROUPS, _LARGEST_GROUP = 20, 200  # groups; mean rows of one
_REPEATED = 1.3  # mean rows of a group from which its identifier repeats


@dataclass(frozen=True, slots=True)
class Column:
    """`in_order`: fraction of neighbouring rows whose values rise, or of those whose values fall, whichever is larger; of dates
    and of years."""

    name: str
    kind: Kind
    distinct: int
    missing: int
    in_order: float = 0.0
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class SplitGuess:
    """`reason` says what the decision rests on; `checks` what only a person can know."""

    by: Literal["random", "time", "group"] = "random"
    column: str = ""
    reason: str = "no column orders the rows, and no identifier repeats"
    checks: tuple[str, ...] = ()


def choose(columns: Sequence[Column], rows: int, target: str) -> SplitGuess:
    """Time goes before group: who knows the future of a group knows the group."""
    features = [c for c in columns if c.name != target]
    time, group = _time(features, rows), _group(features, rows)
    if time is not None:
        ordered = time.in_order >= _IN_ORDER
        reason = f"{time.name} {'orders the rows' if ordered else 'says when each row was'}"
        also = f"; {group.name} repeats, too: by: group would judge on groups never seen" if group else ""
        check = (
            f"rows are held out by time, the newest by {time.name} ({reason}){also}. "
            "If rows do not follow each other in time: split: {by: random}"
        )
        return SplitGuess("time", time.name, reason, (check,))
    if group is not None:
        mean = (rows - group.missing) / group.distinct
        reason = f"{group.name} repeats: {group.distinct:,} values, {mean:.1f} rows of each"
        check = (
            f"rows of one {group.name} stay together, held out or not ({reason}); it is no feature. "
            "If the model predicts for groups it was trained on: split: {by: random}"
        )
        return SplitGuess("group", group.name, reason, (check,))
    others = [
        c.name
        for c in features
        if (c.kind == "datetime" or is_year(c.name, c.kind)) and not _words(c.name) & set(_BIRTHS)
    ]
    if others:
        check = (
            f"rows are held out at random although they have dates ({', '.join(others[:4])}): if the model is asked for later rows "
            f"than it learned from, set split: {{by: time, time: {others[0]}}}"
        )
        return SplitGuess(reason="the dates do not say when a row was", checks=(check,))
    return SplitGuess()


def _time(columns: Sequence[Column], rows: int) -> Column | None:
    """The date that orders the rows, else the first that is named for what happened; else a column of years."""
    dates = [
        c
        for c in columns
        if c.kind == "datetime" and c.distinct >= 5 and c.missing <= 0.05 * rows and not _words(c.name) & set(_BIRTHS)
    ]
    in_order = [c for c in dates if c.in_order >= _IN_ORDER]
    named = [c for c in dates if _words(c.name) & set(_EVENTS)]
    if in_order or named:
        # The finest of those that order the rows: a time before its day.
        return max(in_order, key=lambda c: c.distinct) if in_order else named[0]
    years = [
        c
        for c in columns
        if is_year(c.name, c.kind)
        and c.low is not None
        and c.high is not None
        and c.low >= 1900
        and c.high <= 2100
        and c.distinct >= 5
        and c.missing <= 0.05 * rows
    ]
    # A year alone may be anything's: a car's, a wine's. Beside a month or a day, or in the order of the rows, it is the row's.
    events = [
        c for c in years if c.in_order >= _IN_ORDER or any(_words(o.name) & _PARTS for o in columns if o is not c)
    ]
    return events[0] if events else None


def is_year(name: str, kind: Kind) -> bool:
    """Whether a column is called a year."""
    return kind == "integer" and name.lower() in {"year", "yr", "season"}


def _group(columns: Sequence[Column], rows: int) -> Column | None:
    """The identifier with the most values of those that repeat."""
    matches = [
        c
        for c in columns
        if c.kind in {"integer", "category", "text"}
        and c.distinct >= _FEWEST_GROUPS
        and _REPEATED <= (rows - c.missing) / c.distinct <= _LARGEST_GROUP
        and c.missing <= 0.05 * rows
        and _is_owner(c.name)
    ]
    return max(matches, key=lambda c: c.distinct) if matches else None


def _is_owner(name: str) -> bool:
    """Whether the name says that the value stands for somebody or something with rows of its own: customer_id, policyID, patient."""
    last = name.replace("-", "_").replace(" ", "_").split("_")[-1]
    return last.lower() in _OWNERS or last.endswith(("Id", "ID"))


def _words(name: str) -> set[str]:
    return set(name.lower().replace("-", "_").replace(" ", "_").replace(".", "_").split("_"))
