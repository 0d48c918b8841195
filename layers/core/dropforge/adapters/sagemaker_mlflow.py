"""SageMaker's managed MLflow: the tracking URI is an ARN, and every request is signed for it (Signature Version 4).

The protocol is that of AWS's own plugin for MLflow, `sagemaker-mlflow` 0.5: of a tracking server and of a serverless MLflow App, one
address in a region, the name of a service to sign for, a header that names the server. The plugin itself registers by entry points,
which a Lambda layer has none of, and signs every header a proxy may change. Imported only where the address is an ARN.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from requests import PreparedRequest
from requests.auth import AuthBase

from dropforge.adapters import sigv4
from dropforge.errors import SettingsError

BODY_HEADER = "X-Amz-Content-SHA256"
_ARN = re.compile(
    r"arn:(?P<partition>aws[\w-]*):sagemaker:(?P<region>[a-z0-9-]+):\d{12}:(?P<kind>mlflow-tracking-server|mlflow-app)/[\w-]+"
)
_PARTITIONS = {"aws", "aws-us-gov"}  # where the service is


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one kind of managed server is reached."""

    service: str  # that a request is signed for
    header: str  # names the server
    host: str  # in a region


PROTOCOLS = {
    "mlflow-tracking-server": Protocol(
        "sagemaker-mlflow", "x-mlflow-sm-tracking-server-arn", "{region}.experiments.sagemaker.aws"
    ),
    "mlflow-app": Protocol("sagemaker", "x-sm-mlflow-app-arn", "mlflow.sagemaker.{region}.app.aws"),
}


def parts(arn: str) -> tuple[str, Protocol]:
    """Region and protocol of a managed server. Raises SettingsError when this is not the ARN of one."""
    match = _ARN.fullmatch(arn)
    if match is None or match["partition"] not in _PARTITIONS:
        raise SettingsError(
            f"{arn} is not the ARN of a managed MLflow server",
            code="mlflow_arn_malformed",
            fix="MlflowTrackingUri is http(s)://…, arn:aws:sagemaker:REGION:ACCOUNT:mlflow-app/ID "
            "or arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME",
        )
    return match["region"], PROTOCOLS[match["kind"]]


def endpoint(arn: str) -> str:
    """Address of the managed servers of the ARN's kind and region. Raises SettingsError as `parts`."""
    region, protocol = parts(arn)
    return f"https://{protocol.host.format(region=region)}"


class ServerSignature(AuthBase):
    """Adds to a request the header that names the server, and the signature. `credentials`: botocore's."""

    def __init__(self, arn: str, credentials: Any) -> None:
        self._arn = arn
        self._region, self._protocol = parts(arn)
        self._credentials = credentials

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        # `requests` writes a space of the query as `+`, which a signature takes for a plus.
        path, mark, query = str(request.url).partition("?")
        request.url = path + mark + query.replace("+", "%20")
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        signed = {self._protocol.header: self._arn, BODY_HEADER: hashlib.sha256(body).hexdigest()}
        # Frozen anew for each request: temporary credentials are renewed in between.
        signer = sigv4.Signer(self._region, self._credentials.get_frozen_credentials(), self._protocol.service)
        request.headers.update(signer.sign(str(request.method), request.url, signed, body, tuple(signed)))
        return request


@functools.cache
def introduce(arn: str) -> None:
    """Tell MLflow's client of this process what an ARN is.

    Raises PermanentError without credentials, SettingsError when it is the ARN of something else.
    """
    from mlflow.store.model_registry.rest_store import RestStore as RegistryStore
    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.tracking._model_registry import utils as registry_stores
    from mlflow.tracking._tracking_service import utils as tracking_stores
    from mlflow.tracking.request_auth import registry as signatures
    from mlflow.utils.rest_utils import MlflowHostCreds

    parts(arn)  # another ARN is told before anything is looked for
    signature = ServerSignature(arn, sigv4.credentials())

    def host(uri: str) -> MlflowHostCreds:
        return MlflowHostCreds(endpoint(uri), auth=uri)

    class Provider:
        """Found by its name, which is the ARN."""

        def get_name(self) -> str:
            return arn

        def get_auth(self) -> ServerSignature:
            return signature

    # MLflow takes these from entry points of installed packages; a layer is a folder and has none.
    signatures._request_auth_provider_registry.register(Provider)
    tracking_stores._tracking_store_registry.register(
        "arn", lambda store_uri, **_: RestStore(functools.partial(host, store_uri))
    )
    registry_stores._get_store_registry().register(
        "arn", lambda store_uri, **_: RegistryStore(functools.partial(host, store_uri))
    )
