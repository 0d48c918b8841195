"""Labels on registered versions."""

from __future__ import annotations

from typing import Any

import pytest

from dropforge.config.settings import PromotionSettings
from dropforge.errors import InvalidRequest, NotFound
from dropforge.registry import versions


def _label(switching: Any, alias: str, model: str, version: str = "") -> dict[str, Any]:
    return versions.set_alias(alias, model, version, settings=switching.settings, registry=switching.registry)


def _carrying(switching: Any, alias: str) -> list[tuple[str, str]]:
    return [(v.name, v.version) for v in switching.registry.resolve(alias)]


def test_a_label_names_one_version(switching: Any) -> None:
    """Put on a version of another model it leaves the first; the newest version is meant when none is named."""
    for model in ("forest", "forest", "boost"):
        switching.version(model)
    assert _label(switching, "Production", "forest")["previous"] is None
    assert _carrying(switching, "Production") == [("demo-forest", "2")]
    assert _label(switching, "Production", "demo-boost")["previous"] == {"name": "demo-forest", "version": "2"}
    assert _carrying(switching, "Production") == [("demo-boost", "1")]
    assert _label(switching, "Production", "forest", "1")["version"] == "1"
    assert _carrying(switching, "Production") == [("demo-forest", "1")]


def test_the_challenger_of_the_last_upload_is_meant(switching: Any) -> None:
    """Not the one an earlier upload left on another model, however well it scored."""
    switching.version("forest", "challenger", tags={"upload_id": "old", "heldout.roc_auc": "0.99"})
    switching.version("forest", "newest", tags={"upload_id": "new", "heldout.roc_auc": "0.80"})
    switching.version("boost", "challenger", tags={"upload_id": "new", "heldout.roc_auc": "0.90"})
    switching.registry.set_alias("demo-boost", "newest", "1")
    assert _label(switching, "Production", "challenger")["name"] == "demo-boost"


def test_of_two_challengers_the_one_with_the_smaller_loss_is_better(switching: Any) -> None:
    """Two of one upload: the promotion metric decides, in its own direction."""
    switching.settings = switching.settings.model_copy(update={"promotion": PromotionSettings(metric="log_loss")})
    for name, loss in (("forest", "0.70"), ("boost", "0.30")):
        switching.version(name, "challenger", tags={"upload_id": "one", "heldout.log_loss": loss})
    assert _label(switching, "Production", "challenger")["name"] == "demo-boost"


@pytest.mark.parametrize("alias", ["", "v3", "latest", "newest", "challenger", "a b", "x" * 65, "../x"])
def test_an_alias_must_be_one_people_may_set(switching: Any, alias: str) -> None:
    """422 with what an alias is, or that the system sets this one."""
    switching.version("forest")
    with pytest.raises(InvalidRequest) as caught:
        _label(switching, alias, "forest")
    assert caught.value.status == 422
    assert caught.value.fix


def test_an_unknown_model_or_version_is_404(switching: Any) -> None:
    """With the names or versions there are; no model at all is 422."""
    switching.version("forest")
    with pytest.raises(NotFound) as caught:
        _label(switching, "Production", "tree")
    assert "demo-forest" in caught.value.fix
    with pytest.raises(NotFound) as caught:
        _label(switching, "Production", "forest", "9")
    assert caught.value.fix == "versions are 1"
    with pytest.raises(NotFound):
        _label(switching, "Production", "challenger")
    with pytest.raises(InvalidRequest):
        _label(switching, "Production", "")
