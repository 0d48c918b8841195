"""A route table with the methods a resolver forgets: an unknown path is 404, a wrong method 405 that names the right ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from dropforge.api.proxy_event import Request, Response
from dropforge.errors import InvalidRequest, NotFound

Subject = TypeVar("Subject")


def dispatch(
    request: Request,
    routes: Mapping[tuple[str, str], Callable[[Subject, Request], Response]],
    subject: Callable[[], Subject],
) -> Response:
    """`routes` by (method, resource), the resource as API Gateway names it: `/uploads/{upload_id}`; acts get the `subject`."""
    action = routes.get((request.method, request.resource))
    if action is not None:
        return action(subject(), request)
    allowed = sorted(method for method, resource in routes if resource == request.resource)
    if allowed:
        raise InvalidRequest(
            f"{request.method} is not allowed on {request.resource}",
            code="method_not_allowed",
            fix=f"use {' or '.join(allowed)}",
            status=405,
        )
    raise NotFound(f"no such path: {request.resource}", code="path_unknown", fix="see the README for the API's paths")
