"""Registered versions by alias or name, and the labels people put on them."""

from __future__ import annotations

import math
import re
from typing import Any

from dropforge import ids
from dropforge.config.settings import Settings
from dropforge.errors import InvalidRequest, NotFound
from dropforge.messages import ModelVersion
from dropforge.metrics import sign
from dropforge.ports import ObjectStore, Registry
from dropforge.registry.aliases import CHALLENGER, NEWEST
from dropforge.stored_pages import document

_ALIAS = re.compile(r"[A-Za-z][\w-]{0,63}")
_RESERVED = {"latest", NEWEST, CHALLENGER}
_CARDS = {"html": "model_card.html", "json": "model_card.json"}  # among the artifacts of the training run


def set_alias(alias: str, model: str, version: str, *, settings: Settings, registry: Registry) -> dict[str, Any]:
    """Put the alias on a version and take it from the project's other models, so that it names one version.

    `model`: candidate or registered name, or `challenger` for the best of the last upload; `version`: the newest when empty.
    Raises InvalidRequest (not an alias, or one the system sets), NotFound (no such model or version).
    """
    if not _ALIAS.fullmatch(alias) or re.fullmatch(r"v\d+", alias):
        raise InvalidRequest(
            f"{alias!r} is not an alias",
            code="alias_invalid",
            fix="a letter, then letters, digits, _ or -; at most 64; not v and a number",
        )
    if alias in _RESERVED:
        raise InvalidRequest(
            f"the alias {alias!r} is set by the system",
            code="alias_reserved",
            fix="choose another: Production, Staging, …",
        )
    if model == CHALLENGER:
        chosen = _challenger(version, settings, registry)
    else:
        listed = registry.versions(families(settings, model or _required()))
        matches = [v for v in listed if not version or v.version == version]
        if not matches:
            raise NotFound(
                f"no version {version or ''} of {model!r}",
                code="version_unknown",
                fix=f"versions are {', '.join(v.version for v in listed) or 'none yet'}",
            )
        chosen = matches[0]
    current = registry.resolve(alias, families(settings))
    for other in current:
        if other.name != chosen.name:
            registry.drop_alias(other.name, alias)
    registry.set_alias(chosen.name, alias, chosen.version)
    before = current[0] if current else None
    return {
        "name": chosen.name,
        "version": chosen.version,
        "alias": alias,
        "previous": {"name": before.name, "version": before.version} if before else None,
    }


def _required() -> str:
    raise InvalidRequest(
        "model is missing", code="model_missing", fix='send {"alias": "Production", "model": "challenger"}'
    )


def _challenger(version: str, settings: Settings, registry: Registry) -> ModelVersion:
    """Of several (one for each upload that another model won), the one of the newest upload."""
    if version:
        raise InvalidRequest(
            "challenger is one version already", code="version_ambiguous", fix="leave version out, or name the model"
        )
    carrying = registry.resolve(CHALLENGER, families(settings))
    if not carrying:
        raise NotFound("no version is challenger yet", code="no_challenger", fix="upload data first")
    newest = registry.resolve(NEWEST, families(settings))
    latest = {v.tags.get("upload_id", "") for v in newest}
    of_latest = [v for v in carrying if v.tags.get("upload_id", "") in latest]
    return max(of_latest or carrying, key=lambda v: _score(v, settings.promotion.metric))


def _score(version: ModelVersion, metric: str) -> float:
    """Larger is better; a version without the metric comes last."""
    text = version.tags.get(f"heldout.{metric}", "")
    return sign(metric) * float(text) if text else -math.inf


def card(
    name: str, version: str, accept: str, *, settings: Settings, registry: Registry, store: ObjectStore
) -> tuple[str, str]:
    """Body and content type of a version's model card: JSON when asked for, else HTML. Raises NotFound."""
    matches = [v for v in registry.versions(families(settings, name)) if v.version == version]
    if not matches:
        raise NotFound(f"no version {version} of {name!r}", code="version_unknown", fix="GET /models lists them")
    wants_json = "application/json" in accept and "text/html" not in accept
    uri = registry.artifact_uri(matches[0].run_id, _CARDS["json" if wants_json else "html"])
    try:
        body = document(store, uri)
    except NotFound:
        raise NotFound(f"{name} version {version} has no model card", code="no_card", fix="train again") from None
    return body, "application/json" if wants_json else "text/html; charset=utf-8"


def families(settings: Settings, model: str = "") -> list[str]:
    """Registered names of the project's models, or of the one named. Raises NotFound for a name that is none."""
    names = [ids.registered_model(settings.project, m.name) for m in settings.models]
    if not model:
        return names
    chosen = [n for n in (model, ids.registered_model(settings.project, model)) if n in names]
    if not chosen:
        raise NotFound(
            f"no model {model!r} in this project", code="model_unknown", fix=f"models are {', '.join(names)}"
        )
    return chosen


def resolve(alias: str, model: str, settings: Settings, registry: Registry) -> ModelVersion:
    """The one version that carries the alias. Raises NotFound, InvalidRequest when several do."""
    names = families(settings, model)
    result = registry.resolve(alias, names)
    if not result:
        where = f"on {names[0]}" if model else "on any model"
        raise NotFound(
            f"no version has the alias {alias!r} {where}",
            code="alias_unknown",
            fix=f"set it on one: dropforge alias MODEL {alias} --version VERSION",
        )
    if len(result) > 1:
        raise InvalidRequest(
            f"the alias {alias!r} is on several models: {', '.join(v.name for v in result)}",
            code="alias_ambiguous",
            fix=f'name the model: "model": "{result[0].name}"',
        )
    return result[0]
