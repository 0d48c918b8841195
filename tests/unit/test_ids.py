"""Names that derive from content."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from dropforge import ids


def test_an_upload_id_is_one_object_version() -> None:
    """Bucket, key and version each change it; the same three always give the same 20 hex digits."""
    base = ids.upload_id("b", "k", "v")
    assert re.fullmatch(r"[0-9a-f]{20}", base)
    assert base == ids.upload_id("b", "k", "v")
    assert (
        len(
            {
                base,
                ids.upload_id("c", "k", "v"),
                ids.upload_id("b", "l", "v"),
                ids.upload_id("b", "k", "w"),
            }
        )
        == 4
    )


def test_parts_cannot_be_shifted_into_each_other() -> None:
    """A key that ends like another's version is another upload."""
    assert ids.upload_id("b", "k1", "2") != ids.upload_id("b", "k", "12")


@given(st.text(max_size=60))
def test_slugs_are_safe_names(text: str) -> None:
    """Whatever a model is called, its name is letters, digits, `-` and `_`."""
    assert re.fullmatch(r"[A-Za-z0-9_-]+", ids.slug(text))


def test_execution_names_fit_the_service() -> None:
    """At most 80 characters, different for each attempt."""
    upload = "f" * 20
    assert ids.execution_name(upload) != ids.execution_name(upload, 2)
    assert len(ids.execution_name(upload, 99)) <= 80
