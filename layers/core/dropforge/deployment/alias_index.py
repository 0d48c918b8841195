"""`serving/labels.json`: the labelled versions besides the active one that a request may name. Written by control, read by predict.

Aliases live in MLflow; predict never calls it. So they are published by whoever may have moved one: control when it sets
one or activates a version, conclude after it registered versions and after a promotion.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dropforge import keys
from dropforge.deployment.active_model import Active
from dropforge.errors import BundleRejected, Conflict, InvalidRequest, NotFound

if TYPE_CHECKING:
    from dropforge.ports import ObjectStore

_TRIES = 5


class AliasIndex:
    """The published labels of one bucket."""

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self._store = store
        self._uri = keys.aliases(bucket)

    def publish(self, collect: Callable[[], Sequence[Active]]) -> None:
        """Write what `collect` finds, if it is not there already. Asked again when somebody else wrote meanwhile, so that the
        newest truth stays.

        Raises Conflict when others are always quicker.
        """
        for _ in range(_TRIES):
            try:
                stored = self._store.get(self._uri)
            except NotFound:
                stored = None
            etag = stored.etag if stored else ""
            body = json.dumps({"labels": [asdict(a) for a in collect()]}, indent=1, sort_keys=True).encode()
            if stored is not None and stored.body == body:
                return
            try:
                self._store.put(self._uri, body, content_type="application/json", if_match=etag, if_absent=not etag)
            except Conflict:
                continue
            return
        raise Conflict("the labels are being changed by others", code="labels_busy", fix="try again")

    def read_if_changed(self, etag: str) -> tuple[list[Active], str] | None:
        """None while they are those of `etag`; none at all are an empty list."""
        try:
            stored = self._store.get_if_changed(self._uri, etag) if etag else self._store.get(self._uri)
        except NotFound:
            return [], ""
        if stored is None:
            return None
        try:
            listed = json.loads(stored.body)["labels"]
        except (ValueError, KeyError, TypeError) as error:
            raise BundleRejected(
                f"serving/labels.json cannot be read: {error}",
                code="labels_broken",
                fix="dropforge alias writes it again",
            ) from None
        return [Active.from_dict(one) for one in listed], stored.etag


def choose(labels: Sequence[Active], model: str, alias: str) -> Active:
    """The one version of this model with this label. `model` may be the registered name or its last part.

    Raises NotFound, InvalidRequest (422) when several models carry the label or a model is named without one.
    """
    of_model = [a for a in labels if not model or is_called(a.model, model)]
    if not of_model:
        raise NotFound(
            f"no labelled version of a model {model!r}" if model else "no version is labelled",
            code="model_unknown",
            fix="GET /models lists versions and labels; `dropforge alias` sets one",
        )
    if not alias:
        raise InvalidRequest(
            f"{model!r} is not the active model, and which version is meant is not said",
            code="alias_missing",
            fix=f"add &alias= one of {', '.join(sorted({a.alias for a in of_model}))}",
        )
    matches = [a for a in of_model if a.alias == alias]
    if not matches:
        raise NotFound(
            f"no version has the label {alias!r}" + (f" on {model!r}" if model else ""),
            code="alias_unknown",
            fix=f"labels are {', '.join(sorted({a.alias for a in of_model}))}",
        )
    if len(matches) > 1:
        raise InvalidRequest(
            f"the label {alias!r} is on several models: {', '.join(a.model for a in matches)}",
            code="alias_ambiguous",
            fix="add &model=",
        )
    return matches[0]


def is_called(registered: str, given: str) -> bool:
    """`adult-income-xgboost` is called so, and `xgboost`."""
    return registered == given or registered.endswith(f"-{given}")
