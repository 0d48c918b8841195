"""What a table's columns are. The reference declares it; every later upload is read by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from dropforge.errors import NotFound
from dropforge.value_formats import PLAIN, NumberFormat

Kind = Literal["integer", "number", "category", "text", "boolean", "datetime"]

# Physical type of each kind in a snapshot's Parquet file (DuckDB names).
PHYSICAL: dict[Kind, str] = {
    "integer": "BIGINT",
    "number": "DOUBLE",
    "category": "VARCHAR",
    "text": "VARCHAR",
    "boolean": "BOOLEAN",
    "datetime": "TIMESTAMP",
}
NUMERIC: frozenset[Kind] = frozenset({"integer", "number"})

# Extra UBIGINT column of every snapshot: first 64 bits of md5 of the row in canonical form.
# The held-out split and the duplicate checks read it.
ROW_HASH = "__row"


class Column(BaseModel):
    """Name, kind and what is allowed in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: Kind
    number_format: NumberFormat = PLAIN  # how the column writes its numbers in text files

    @property
    def numeric(self) -> bool:
        """Whether values are numbers to a model."""
        return self.kind in NUMERIC

    @property
    def physical(self) -> str:
        """DuckDB's type of the column in a snapshot."""
        return PHYSICAL[self.kind]


class Schema(BaseModel):
    """Columns in the reference's order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    columns: tuple[Column, ...]
    target: str
    classes: tuple[
        str, ...
    ] = ()  # of the target in the reference; empty where it was number_format by an earlier version

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(c.name for c in self.columns)

    def column(self, name: str) -> Column:
        """Raises NotFound for a name the schema does not have."""
        result = next((c for c in self.columns if c.name == name), None)
        if result is None:
            raise NotFound(
                f"no column named {name!r}", code="column_unknown", fix=f"columns are {', '.join(self.names)}"
            )
        return result

    def widened(self) -> Schema:
        """With numbers for whole numbers: a fraction in such a column is a number to the model."""
        columns = [c.model_copy(update={"kind": "number"}) if c.kind == "integer" else c for c in self.columns]
        return self.model_copy(update={"columns": tuple(columns)})


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Names, in the order of `classes`, of the columns of their probabilities in Parquet files: `p.{class}`.

    SQL tells no names apart that differ in case only: the later of two such classes has its number behind its name.
    """
    names: list[str] = []
    taken: set[str] = set()
    for number, label in enumerate(classes):
        column = f"p.{label}"
        while column.casefold() in taken:
            column += f".{number}"
        taken.add(column.casefold())
        names.append(column)
    return names
