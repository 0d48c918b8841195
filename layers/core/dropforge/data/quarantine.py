"""Rows set aside, kept for a person to read, mend and send again."""

from __future__ import annotations

import json
from dataclasses import asdict

from dropforge.data.admission import Admission
from dropforge.ports import ObjectStore
from dropforge.uris import join


def write(store: ObjectStore, bucket: str, upload_id: str, admission: Admission) -> str:
    """Keep rows.csv and reasons.json under quarantine/{upload_id}/; return its URI, empty when no row was set aside."""
    if not admission.rows_quarantined:
        return ""
    folder = join(f"s3://{bucket}", "quarantine", upload_id)
    store.upload(admission.rejects_csv, join(folder, "rows.csv"), content_type="text/csv")
    summary = {
        "upload_id": upload_id,
        "rows": admission.rows_quarantined,
        "reasons": admission.reason_counts,
        "first": [asdict(r) for r in admission.first_rejects],
    }
    store.put(
        join(folder, "reasons.json"),
        json.dumps(summary, indent=1, ensure_ascii=False).encode(),
        content_type="application/json",
    )
    return folder
