"""Every error the product raises on purpose.

    DropforgeError                 code · message · fix
    ├── PermanentError             the same input will fail again: do not retry
    │   ├── SettingsError          settings.yaml is wrong: names key and line
    │   ├── RejectedUpload         the file cannot be used: ends the upload in state `rejected`
    │   ├── InvalidRequest         an API caller's mistake (HTTP 4xx, `status` says which)
    │   ├── NotFound               the thing named does not exist (HTTP 404)
    │   ├── Conflict               somebody else changed it first (HTTP 409)
    │   ├── BundleRejected         a serving bundle is altered, broken or not equal to its pipeline
    │   └── JobFailed              a training job cannot succeed
    └── TransientError             the world failed: retrying may help
        └── Unavailable            a dependency does not answer

A workflow decides on `retryable`; a handler turns `status`, `code`, `message` and `fix` into its answer.
"""

from __future__ import annotations

from typing import ClassVar


class DropforgeError(Exception):
    """Root of the tree.

    `code` is stable and machine-readable, `message` says what and where, `fix` how to correct it.
    """

    retryable: ClassVar[bool] = False
    status: int = 500

    def __init__(self, message: str, *, code: str | None = None, fix: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code()
        self.fix = fix
        if status is not None:
            self.status = status

    @classmethod
    def default_code(cls) -> str:
        """The class name in snake case: `RejectedUpload` gives `rejected_upload`."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")

    def as_dict(self) -> dict[str, str]:
        """code, message and fix, as the API returns them."""
        return {"code": self.code, "message": self.message, "fix": self.fix}


class PermanentError(DropforgeError):
    """The same input will fail again."""


class SettingsError(PermanentError):
    """A mistake in settings.yaml or in the environment."""


class RejectedUpload(PermanentError):
    """The uploaded file cannot be used; the reason is recorded and nothing is trained."""

    status = 422


class InvalidRequest(PermanentError):
    """A mistake of an API caller."""

    status = 422


class NotFound(PermanentError):
    """The thing named does not exist."""

    status = 404


class Conflict(PermanentError):
    """A conditional write lost: somebody else changed the object first."""

    status = 409


class BundleRejected(PermanentError):
    """A serving bundle that must not be served."""

    status = 409


class JobFailed(PermanentError):
    """A training job that cannot succeed, however often it is tried."""


class TransientError(DropforgeError):
    """The world failed; the same call may succeed later."""

    retryable = True
    status = 503


class Unavailable(TransientError):
    """A dependency (object store, queue, tracking server) does not answer."""
