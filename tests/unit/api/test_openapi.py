"""The document and its page."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from dropforge.api import docs_page, openapi


def test_every_reference_leads_somewhere() -> None:
    """The document is whole: version 3.1, JSON all through, and each $ref names a schema that is in it."""
    document = openapi.document({"age": 39})
    text = json.dumps(document, allow_nan=False)
    assert document["openapi"] == "3.1.0"
    named = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert named <= set(document["components"]["schemas"])
    assert document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"] == {
        "records": [{"age": 39}]
    }


def test_every_operation_has_its_own_name() -> None:
    """Clients are generated from operation ids."""
    ids = [o["operationId"] for verbs in openapi.document()["paths"].values() for o in verbs.values()]
    assert len(set(ids)) == len(ids)


def test_the_page_needs_nothing_from_anywhere() -> None:
    """No script and no address in it; its policy allows nothing but its own style, by hash; what it shows is escaped."""
    page = docs_page.render(openapi.document({"a<script>": 1}))
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!#)', page)
    style = page.partition("<style>")[2].partition("</style>")[0]
    wanted = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{wanted}'" in docs_page.POLICY
    assert docs_page.POLICY.startswith("default-src 'none'")
    for path in openapi.document()["paths"]:
        assert f"<code>{path}</code>" in page
