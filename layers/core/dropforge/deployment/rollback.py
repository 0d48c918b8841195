"""The way back, and the deployment history as people read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dropforge.clock import now
from dropforge.deployment.activate import change_response, identity_of, pointer_of
from dropforge.deployment.active_model import Active, ActivePointer, none_active
from dropforge.deployment.change import Change
from dropforge.deployment.history import DeploymentHistory, Entry, Verification
from dropforge.errors import BundleRejected, Conflict, NotFound
from dropforge.ports import MacKey, ObjectStore


def rollback(change: Change, to: int | None = None) -> dict[str, Any]:
    """Activate the model of an earlier entry: entry `to`, or the one before the active model.

    Rolling back again goes further back, never forward to the model just left. Reads the deployment history only: MLflow may be down.
    Raises NotFound (no such entry), Conflict (nothing to go back to, or another change finished first), BundleRejected (that
    bundle is altered or gone: the active model goes on).
    """
    history = change.history

    def entry(active: Active | None, number: int) -> Entry:
        if active is None:
            raise none_active()
        target = _entry(history, to) if to is not None else _previous(history, active)
        old = target.active("")
        change.verify(old)
        at = now()
        new = replace(old, number=number, set_at=at, set_by=change.by, candidate=None)
        # settings, not the model
        new = replace(
            new,
            max_rows=active.max_rows,
            max_body_bytes=active.max_body_bytes,
            capture=active.capture,
            rules=active.rules,
        )
        return Entry(
            number=number,
            at=at,
            by=change.by,
            action="rollback",
            reason=change.reason or f"back to entry {target.number}",
            before=pointer_of(active),
            to=pointer_of(new) or {},
            evidence=target.evidence,
            restores=target.restores or target.number,
        )

    return change_response(history.change(entry), change.log)


def _entry(history: DeploymentHistory, number: int) -> Entry:
    stored = history.get(number)
    if stored is None or stored.entry is None:
        raise NotFound(
            f"the deployment history has no entry {number}", code="entry_unknown", fix="GET /history lists them"
        )
    return stored.entry


def _previous(history: DeploymentHistory, active: Active) -> Entry:
    """The newest entry before the active model's own whose model differs. Walks back entry by entry: almost always two."""
    current = history.get(active.number)
    number = (current.entry.restores or current.number) if current and current.entry else active.number
    while number > 1:
        number -= 1
        stored = history.get(number)
        if stored is None or stored.entry is None:
            continue
        if stored.entry.restores:  # a rollback: what it restored counts, not what it left
            number = stored.entry.restores + 1
            continue
        if (stored.entry.to.get("model"), stored.entry.to.get("version")) != (active.model, active.version):
            return stored.entry
    raise Conflict(
        "there is no earlier model to go back to",
        code="nothing_to_roll_back_to",
        fix="POST /set_model, or name an entry: to",
    )


def shown(store: ObjectStore, bucket: str, limit: int, key: MacKey | None = None) -> dict[str, Any]:
    """The newest `limit` entries, newest first, and whether their chain holds; with the history's `key`, whether it made them.

    `complete` is false while the last entry's writer has not set the pointer (or died before): the next change does.
    """
    history = DeploymentHistory(store, bucket, key)
    last = history.last_number()
    first = max(1, last - limit + 1)
    entries = [k for k in reversed(history.read(first, last)) if k is not None and k.entry is not None] if last else []
    try:
        active = ActivePointer(store, bucket).read()[0].number
    except (NotFound, BundleRejected):
        active = 0
    checked = history.verify(first, last) if last else Verification([])
    return {
        "entries": [{**_entry_summary(k.entry), "sha256": k.sha256} for k in entries if k.entry],
        "active": active,
        "complete": active == last,
        "verified": {
            "first": first,
            "last": last,
            "ok": not checked.problems,
            "problems": checked.problems,
            "key": key is not None,
            "keyed": checked.keyed,
            "unkeyed": checked.unkeyed,
        },
    }


def _entry_summary(entry: Entry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "at": entry.at,
        "by": entry.by,
        "action": entry.action,
        "reason": entry.reason,
        "from": identity_of(entry.before),
        "to": identity_of(entry.to),
        "candidate": entry.to.get("candidate"),
        "evidence": dict(entry.evidence),
        "restores": entry.restores or None,
        "previous_sha256": entry.previous_sha256,
    }
