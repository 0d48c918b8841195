"""One bucket, workflow and MLflow in memory with the real steps over them, and small tables to feed them."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from dropforge import ids
from dropforge.config import settings_store
from dropforge.messages import UploadEvent
from dropforge.ports import ObjectStore
from dropforge.uploads.analyze_upload import Ports, analyze
from dropforge.uploads.recovery import RecoveryPorts, recover
from dropforge.uploads.s3_events import uploads_in
from dropforge.uploads.upload_repository import UploadRecord, UploadRepository
from dropforge_local.memory import MemoryStore, MemoryTracking, MemoryWorkflow
from dropforge_local.memory_function import MemoryEventQueue

SETTINGS = (
    b"project: demo\ndata: {target: label}\nmodels: [{name: forest, class: a.b:C}, {name: boost, class: a.b:D}]\n"
    b"training: {trigger: {quiet_minutes: 0}}\n"
)


def table(number: int, rows: int = 40) -> bytes:
    """A CSV file whose rows differ for each `number`."""
    lines = (
        f"{20 + i % 40}.{number:04d},{('Bern', 'Oslo', 'Rome')[i % 3]},{('no', 'yes')[i % 2]}\n" for i in range(rows)
    )
    return b"age,city,label\n" + "".join(lines).encode()


class AppContext:
    """`store` may be another one than memory's; its bucket `data` must exist and be versioned."""

    def __init__(self, store: ObjectStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.workflow, self.tracking = MemoryWorkflow(), MemoryTracking()
        self.book = UploadRepository(self.store, "data")
        self.ports = Ports(
            store=self.store,
            workflow=self.workflow,
            book=self.book,
            tracking=lambda _experiment: self.tracking,
            data_bucket="data",
            artifact_bucket="artifacts",
            log=logging.getLogger("faults"),
        )
        settings_store.apply(self.store, "data", SETTINGS)

    def put(self, name: str, body: bytes, sequencer: str = "") -> UploadEvent:
        """Put an object under incoming/ and give the event that tells of it."""
        key = f"incoming/{name}"
        self.store.put(f"s3://data/{key}", body)
        version = self.store.get(f"s3://data/{key}").version
        return UploadEvent(bucket="data", key=key, version=version, size=len(body), sequencer=sequencer)

    def deliver(self, event: UploadEvent) -> UploadRecord:
        return analyze(event, self.ports)

    def recover(self, older_than: timedelta = timedelta(0), ports: Ports | None = None, **how: Any) -> dict[str, str]:
        """Recovery, and what it sent delivered once. `ports`: sick ones."""
        steps = ports or self.ports
        uploads = MemoryEventQueue(lambda event: [analyze(e, steps).state for e in uploads_in(event)])
        recovery = RecoveryPorts(steps, uploads, MemoryEventQueue())
        done = recover(recovery, older_than=older_than, **how)
        uploads.deliver()
        return done

    def record(self, event: UploadEvent) -> UploadRecord:
        return self.book.get(ids.upload_id(event.bucket, event.key, event.version))

    def with_(self, **ports: Any) -> Ports:
        """The ports with some replaced by sick ones."""
        return Ports(**{**{f: getattr(self.ports, f) for f in Ports.__dataclass_fields__}, **ports})
