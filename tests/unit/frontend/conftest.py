"""The fixtures of a web app before an API that answers as a test says."""

from __future__ import annotations

from ...api_server import Server, credentials, server

__all__ = ["Server", "credentials", "server"]
