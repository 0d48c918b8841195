"""Lifecycle rules of a bucket by settings.yaml (`retention`), beside those of the template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.adapters.aws_client import translated

_OURS: Final = "retention-"


class BucketLifecycle:
    """One boto3 client; for the command line, whose caller may change a bucket. No deployed part may."""

    def __init__(self, client: Any) -> None:
        self._s3 = client

    def apply(self, bucket: str, days: Mapping[str, int | None]) -> list[str]:
        """Delete objects below a prefix after so many days, with their older versions; the ids of the rules in force now.

        `days`: by prefix; None: kept. Rules of others stay as they are. A second call with the same days changes nothing.
        """
        with translated(bucket):
            before = self._rules(bucket)
            rules = [r for r in before if not str(r.get("ID", "")).startswith(_OURS)]
            for prefix, count in sorted(days.items()):
                if count is not None:
                    rules.append(
                        {
                            "ID": f"{_OURS}{prefix}",
                            "Status": "Enabled",
                            "Filter": {"Prefix": f"{prefix}/"},
                            "Expiration": {"Days": count},
                            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
                        }
                    )
            if rules and rules != before:
                self._s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
            elif before and not rules:
                self._s3.delete_bucket_lifecycle(Bucket=bucket)
            return [str(r.get("ID", "")) for r in rules]

    def _rules(self, bucket: str) -> list[dict[str, Any]]:
        try:
            result: list[dict[str, Any]] = self._s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
                return []
            raise
        return result
