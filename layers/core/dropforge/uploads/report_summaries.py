"""`datasets/last_reports.json`: summaries of the last two reports, for the next one to say what changed.

Two, because an event may be delivered again: the upload's own report is then the last one. Of uploads that are analysed at the
same moment the later writer wins; both reports are complete without it, so nobody waits.
"""

from __future__ import annotations

from pydantic import TypeAdapter

from dropforge import keys
from dropforge.analysis.report_model import ReportSummary
from dropforge.errors import NotFound
from dropforge.ports import ObjectStore

_SUMMARIES = TypeAdapter(list[ReportSummary])


def previous(store: ObjectStore, bucket: str, upload_id: str) -> ReportSummary | None:
    """Of the last report of another upload; None when there is none."""
    return next((s for s in reversed(_read(store, bucket)) if s.upload_id != upload_id), None)


def add(store: ObjectStore, bucket: str, summary: ReportSummary) -> None:
    """Store one upload's summary as the last."""
    others = [s for s in _read(store, bucket) if s.upload_id != summary.upload_id]
    body = _SUMMARIES.dump_json([*others[-1:], summary])
    store.put(keys.last_reports(bucket), body, content_type="application/json")


def _read(store: ObjectStore, bucket: str) -> list[ReportSummary]:
    try:
        return _SUMMARIES.validate_json(store.get(keys.last_reports(bucket)).body)
    except NotFound:
        return []
