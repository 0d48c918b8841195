"""Who may call which route: the one table that template.yaml, the OpenAPI document, the command line and the tests read.

An API key (with the usage plan's limits) is for those who use a model: what it answers, what it is, whether it is up. Everything
else is administration and wants a request signed by an IAM principal (Signature Version 4) that may `execute-api:Invoke`. That
includes reading: quarantined rows are raw data, reports and upload records tell what is in the data, and the list of
versions tells what may be switched to. A path that is not in the table is administration.
"""

from __future__ import annotations

from typing import Final, Literal

Access = Literal["key", "iam"]

ACCESS: Final[dict[tuple[str, str], Access]] = {
    ("POST", "/predict"): "key",
    ("POST", "/invocations"): "key",
    ("GET", "/ping"): "key",
    ("GET", "/v2"): "key",
    ("GET", "/v2/health/live"): "key",
    ("GET", "/v2/health/ready"): "key",
    ("GET", "/v2/models/{model}"): "key",
    ("GET", "/v2/models/{model}/ready"): "key",
    ("POST", "/v2/models/{model}/infer"): "key",
    ("POST", "/ground_truth"): "key",  # whoever asked for a prediction learns how it turned out, and alone knows its id
    ("GET", "/model_info"): "key",
    ("GET", "/health"): "key",
    ("GET", "/openapi.json"): "key",
    ("GET", "/docs"): "iam",
    ("POST", "/set_model"): "iam",
    ("POST", "/rollout"): "iam",
    ("POST", "/rollback"): "iam",
    ("POST", "/aliases"): "iam",
    ("GET", "/history"): "iam",
    ("GET", "/monitoring"): "iam",
    ("GET", "/models"): "iam",
    ("GET", "/models/{name}/{version}/card"): "iam",
    ("GET", "/activity"): "iam",
    ("POST", "/upload_data"): "iam",
    ("GET", "/uploads"): "iam",
    ("GET", "/uploads/{upload_id}"): "iam",
    ("POST", "/uploads/{upload_id}"): "iam",
    ("GET", "/datasets"): "iam",
    ("POST", "/datasets/{dataset_id}"): "iam",
    ("GET", "/reports/{upload_id}"): "iam",
    ("GET", "/quarantine"): "iam",
    ("GET", "/quarantine/{upload_id}"): "iam",
    ("POST", "/quarantine/{upload_id}"): "iam",
}


def needed(method: str, path: str) -> Access:
    """What a call of a real path (`/uploads/0123…?key=…`) needs; `iam` for a path that no route has."""
    parts = path.partition("?")[0].strip("/").split("/")
    for (verb, resource), access in ACCESS.items():
        pattern = resource.strip("/").split("/")
        if (
            verb == method.upper()
            and len(pattern) == len(parts)
            and all(p == given or p.startswith("{") for p, given in zip(pattern, parts, strict=True))
        ):
            return access
    return "iam"
