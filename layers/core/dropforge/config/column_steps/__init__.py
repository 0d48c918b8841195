"""Preprocessing steps of whole columns and of categories: one file each, named as the step in `processing` of settings.yaml.

The file has a class derived from ColumnStep under the name STEP: its docstring and fields are the step's documentation and
settings. What it does to its column is told by the methods that it overrides; training and the serving bundle carry it out, so that a
step adds no code to the prediction path. Another distribution adds a step by an entry point in the group `dropforge.column_steps`, and
has to be installed in the core layer and where models are trained, since every function reads settings.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from dropforge.config.frozen import Frozen
from dropforge.plugin_registry import PluginRegistry

REGISTRY: Final = PluginRegistry(__name__, "STEP", "dropforge.column_steps")


class ColumnStep(Frozen):
    """One step of one column, or, without a field `column`, of those that `columns` names."""

    CATEGORIES: ClassVar[bool] = True  # the column has to be one of categories; False: the kind does not matter

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it changes."""
        return (self.column,)  # type: ignore[attr-defined] # a field of every step but `drop`

    def drops(self) -> bool:
        """Whether models do not see the columns."""
        return False

    def missing_texts(self) -> tuple[str, ...]:
        """Texts that mean missing, besides those of `data`."""
        return ()

    def cast_to(self) -> str:
        """`category` or `number`: what the column is read as, against its kind; empty: as it is."""
        return ""

    def merges(self) -> Mapping[str, str]:
        """Categories that become another one, known without the rows."""
        return {}

    def pools(self) -> tuple[int, str]:
        """Categories of fewer training rows than this become that one, as unseen ones do; 0: none."""
        return 0, ""

    def learns(self, counts: Mapping[str, int]) -> Mapping[str, str]:  # noqa: ARG002 - for steps that learn
        """Categories that become another one, by the training rows of each category. The bundle stores what is returned."""
        return {}
