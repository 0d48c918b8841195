"""Quarantined rows, stored for a person to read, correct and resubmit as a new upload."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dropforge import keys
from dropforge.errors import InvalidRequest, NotFound
from dropforge.ingest.admission import Admission
from dropforge.ingest.rejected_rows import Reject, counts, harmless, write_csv
from dropforge.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The rows of one upload that were quarantined, in the file's order, and how the file wrote its rows."""

    upload_id: str
    header: tuple[str, ...]
    delimiter: str
    rows: tuple[Reject, ...]


def write(store: ObjectStore, bucket: str, upload_id: str, admission: Admission) -> str:
    """Keep rows.csv and reasons.json under quarantine/{upload_id}/; return its URI, empty when no row was quarantined."""
    if not admission.rows_quarantined:
        return ""
    return _keep(
        store,
        bucket,
        upload_id,
        admission.rejects_csv,
        {
            "rows": admission.rows_quarantined,
            "reasons": admission.reason_counts,
            "header": admission.header,
            "delimiter": admission.delimiter or ",",
            "first": [asdict(r) for r in admission.first_rejects],
        },
    )


def write_rejects(store: ObjectStore, bucket: str, quarantine: Quarantine, workdir: Path) -> str:
    """The same for a file that was read to be scored."""
    rejects = list(quarantine.rows)
    if not rejects:
        return ""
    return _keep(
        store,
        bucket,
        quarantine.upload_id,
        write_csv(rejects, workdir / "rejects.csv"),
        {
            "rows": len(rejects),
            "reasons": counts(rejects),
            "header": list(quarantine.header),
            "delimiter": quarantine.delimiter or ",",
            "first": [asdict(r) for r in rejects[:100]],
        },
    )


def _keep(store: ObjectStore, bucket: str, upload_id: str, rows: Path, summary: Mapping[str, object]) -> str:
    folder = keys.quarantine_folder(bucket, upload_id)
    store.upload(rows, f"{folder}rows.csv", content_type="text/csv")
    store.put(
        f"{folder}reasons.json",
        json.dumps({"upload_id": upload_id, **summary}, indent=1, ensure_ascii=False).encode(),
        content_type="application/json",
    )
    return folder.rstrip("/")


def read(store: ObjectStore, bucket: str, upload_id: str) -> Quarantine:
    """Raises NotFound when nothing of this upload was quarantined."""
    folder = keys.quarantine_folder(bucket, upload_id)
    try:
        summary = json.loads(store.get(f"{folder}reasons.json").body)
        body = store.get(f"{folder}rows.csv").body.decode()
    except NotFound:
        raise NotFound(
            f"nothing of upload {upload_id} was quarantined", code="no_quarantine", fix="dropforge quarantine list"
        ) from None
    csv.field_size_limit(2**31 - 1)
    rows = tuple(
        Reject(int(r["line"]), plain(r["column"]), r["code"], plain(r["reason"]), plain(r["raw"]))
        for r in csv.DictReader(io.StringIO(body, newline=""))
    )
    return Quarantine(upload_id, tuple(summary["header"]), summary["delimiter"], rows)


def corrected(quarantine: Quarantine, lines: Mapping[int, str]) -> bytes:
    """A CSV file of the corrected rows: the upload's header line, then `lines` (number → text of the row) in order.

    Raises InvalidRequest for a line that was not quarantined and for a text that is no single row of the header's width.
    """
    known = {r.line for r in quarantine.rows}
    out = io.StringIO()
    writer = csv.writer(out, delimiter=quarantine.delimiter, lineterminator="\n")
    writer.writerow(quarantine.header)
    if not lines:
        raise InvalidRequest("no row is given", code="no_rows", fix='send {"rows": [{"line": 17, "raw": "…"}]}')
    for number, text in sorted(lines.items()):
        if number not in known:
            raise InvalidRequest(
                f"line {number} was not quarantined",
                code="line_unknown",
                fix=f"lines quarantined are {', '.join(str(n) for n in sorted(known)[:10])}",
            )
        cells = row_of(text, quarantine.delimiter)
        if len(cells) != len(quarantine.header):
            raise InvalidRequest(
                f"line {number} has {len(cells)} fields where the header has {len(quarantine.header)}",
                code="row_width",
                fix=f"separate fields with {quarantine.delimiter!r} and quote a field that contains it",
            )
        writer.writerow(cells)
    return out.getvalue().encode()


def row_of(text: str, delimiter: str) -> list[str]:
    """The cells of one row. Raises InvalidRequest when the text is none or several."""
    try:
        rows = list(csv.reader(io.StringIO(text.strip("\r\n"), newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InvalidRequest(f"{text[:80]!r} is no row: {error}", code="row_form", fix="check its quotes") from None
    if len(rows) != 1:
        raise InvalidRequest(f"{text[:80]!r} is {len(rows)} rows", code="row_form", fix="send one row for each line")
    return rows[0]


def replay_key(upload_id: str, name: str, *, batch: bool = False) -> str:
    """Where a corrected file goes in: its key tells which upload it corrects. Rows to be scored are scored again."""
    return f"{keys.BATCH_REPLAYED if batch else keys.REPLAYED}{upload_id}/{name}"


def corrected_upload(key: str) -> str:
    """The upload whose rows the file at `key` brings back; empty for any other key."""
    rest = key.removeprefix(keys.REPLAYED)
    return rest.split("/", 1)[0] if rest != key and "/" in rest else ""


def rows_uri(bucket: str, upload_id: str) -> str:
    """The rows of one upload as a CSV file."""
    return f"{keys.quarantine_folder(bucket, upload_id)}rows.csv"


def plain(text: str) -> str:
    """What `rejected_rows.harmless` made of it, undone."""
    return text[1:] if text[:1] == "'" and harmless(text[1:]) == text else text


def table(rows: Sequence[Reject]) -> list[dict[str, object]]:
    """For JSON."""
    return [asdict(r) for r in rows]
