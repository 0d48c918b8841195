"""A CSV file through POST /predict, in requests of the size the API takes, written beside its rows."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge_ui.cells import harmless
from dropforge_ui.client import Api, ApiError

ROWS = 500
_DELIMITERS = ",;\t|"


@dataclass(slots=True)
class Summary:
    """Counts of a scored file."""

    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    warned: int = 0


def predict_file(
    api: Api, source: Path, target: Path, progress: Callable[[int], None], *, escape: bool = True
) -> Summary:
    """Write `target`: every column of `source`, then `prediction` and one probability a class. `progress` gets the rows done.
    `escape`: an apostrophe before texts that a spreadsheet would run, in names of columns too.

    Raises ApiError: the API's, with the line of the file it speaks of, or one for a file that is no CSV table.
    """
    summary, written = Summary(), harmless if escape else str
    with (
        source.open(newline="", encoding="utf-8-sig") as given,
        target.open("w", newline="", encoding="utf-8") as created,
    ):
        try:
            reader = csv.DictReader(given, delimiter=_delimiter(given.readline(), given), strict=True)
            writer: Any = None
            for rows in _pieces(reader):
                answer = _ask(api, rows, summary.rows + 2)
                for row, one in zip(rows, answer["predictions"], strict=True):
                    shares = {f"probability_{k}": f"{p:.6f}" for k, p in one.get("probabilities", {}).items()}
                    document = {**row, "prediction": one.get("label", one.get("prediction")), **shares}
                    if writer is None:
                        writer = csv.writer(created)
                        writer.writerow(written(name) for name in document)
                    writer.writerow(written(str(value)) for value in document.values())
                    if "label" in one:
                        summary.labels[str(one["label"])] += 1
                summary.rows += len(rows)
                summary.warned += sum(w.get("rows", 0) for w in answer.get("warnings", ()))
                progress(summary.rows)
        except UnicodeDecodeError:
            raise ApiError(
                "encoding", "The file is not UTF-8 text.", "save it as CSV with the encoding UTF-8"
            ) from None
        except csv.Error as error:
            raise ApiError("malformed_csv", f"The file is not CSV: {error}.", "check quotes and delimiters") from None
    if not summary.rows:
        raise ApiError("no_rows", "The file has no rows.", "send a header line and at least one row")
    return summary


def _delimiter(header: str, file: Any) -> str:
    """The one of , ; tab | that splits the header line into most fields; the file is rewound."""
    file.seek(0)
    return max(_DELIMITERS, key=header.count)


def _pieces(reader: csv.DictReader[str]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for row in reader:
        if None in row or None in row.values():
            wide = "more" if None in row else "fewer"
            raise ApiError(
                "malformed_csv",
                f"Line {reader.line_num} has {wide} fields than the header.",
                "give every row all fields",
            )
        rows.append(row)
        if len(rows) == ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def _ask(api: Api, rows: list[dict[str, Any]], first_line: int) -> Any:
    try:
        return api.predict(rows)
    except ApiError as error:
        place = f"In the rows from line {first_line} (record 0 is line {first_line}): "
        raise ApiError(error.code, place + error.message, error.fix, error.status, error.request_id) from None
