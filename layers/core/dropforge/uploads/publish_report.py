"""The report of one upload: made from the profiles, kept beside the data, in the artifact bucket and in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dropforge import announce, keys
from dropforge.analysis.data_profile import Profile
from dropforge.analysis.report import build_report, html_report, report_changes
from dropforge.analysis.report_model import Provenance, Report
from dropforge.clock import now
from dropforge.config.settings import Settings
from dropforge.datasets import rule_history
from dropforge.datasets.dataset_store import DatasetStore
from dropforge.deployment.active_model import ActivePointer
from dropforge.errors import BundleRejected, NotFound
from dropforge.inference.bundle_manifest import MANIFEST_FILE, BundleManifest
from dropforge.ingest.admission import Admission
from dropforge.observability import failure
from dropforge.ports import DatasetInput, RunInfo, Tracking
from dropforge.s3_uri import join
from dropforge.uploads import report_summaries
from dropforge.uploads.upload_ports import Ports
from dropforge.uploads.upload_repository import UploadRecord


class Reporting:
    """Holds what the parts of one report share."""

    def __init__(self, record: UploadRecord, settings: Settings, ports: Ports) -> None:
        self.record = record
        self.settings = settings
        self.ports = ports
        self.datasets = DatasetStore(ports.store, ports.data_bucket)
        self.upload_id = record.upload_id

    def make(self, admission: Admission, reference_id: str, workdir: Path, database: Any) -> tuple[Report, RunInfo]:
        """Profile the admitted rows (`database`: the connection they were admitted with), compare, publish."""
        like = None if reference_id == admission.dataset_id else self.reference_profile(reference_id, workdir)
        profile = build_report.profile_of(admission, workdir, like, database)
        self.ports.store.put(
            self._profile_uri(admission.dataset_id), profile.model_dump_json().encode(), content_type="application/json"
        )
        tracking = self.ports.tracking(self.settings.project)
        tags = {
            "upload_id": self.upload_id,
            "dataset_id": admission.dataset_id,
            "reference_id": reference_id,
            "settings_sha256": self.settings.sha256,
            "dropforge.kind": "analysis",
        }
        result = tracking.ensure_run(self.upload_id, name=f"analysis {Path(self.record.key).name}", tags=tags)
        report = build_report.report(
            like,
            profile,
            build_report.intake_of(admission, self.record.key, self._earlier_rules(admission)),
            self.settings,
            Provenance(
                upload_id=self.upload_id,
                dataset_id=admission.dataset_id,
                reference_id=reference_id,
                run_url=tracking.run_url(result),
                created_at=now(),
            ),
            importance=self._importance(),
        )
        earlier = report_summaries.previous(self.ports.store, self.ports.data_bucket, self.upload_id)
        report = report.model_copy(update={"previous": earlier})
        self._publish(report, profile, admission.snapshot, result, tracking)
        report_summaries.add(self.ports.store, self.ports.data_bucket, report_changes.summary(report))
        drifted = [c.name for c in report.drifted]
        measured = {"DriftedColumns": len(drifted)}
        self.ports.log.info("reported", extra={"verdict": report.verdict.word, "drifted": drifted, "metrics": measured})
        announce.drift(report.verdict.word, drifted, self.ports.announce, upload_id=self.upload_id)
        if admission.rules:
            results = {r.name: (r.rows, r.violations) for r in admission.rules}
            run = rule_history.RuleRun(upload_id=self.upload_id, results=results)
            rule_history.add(self.ports.store, self.ports.data_bucket, run)
        return report, result

    def _earlier_rules(self, admission: Admission) -> list[Mapping[str, tuple[int, int]]]:
        if not admission.rules:
            return []
        runs = rule_history.read(self.ports.store, self.ports.data_bucket)
        return [r.results for r in runs if r.upload_id != self.upload_id]

    def _importance(self) -> dict[str, float]:
        """What the served model relies on; nothing when none is served or its bundle cannot be read."""
        try:
            active, _ = ActivePointer(self.ports.store, self.ports.data_bucket).read()
            body = self.ports.store.get(join(active.bundle_uri, MANIFEST_FILE)).body
            return dict(BundleManifest.from_json(body).importance)
        except (NotFound, BundleRejected) as error:
            self.ports.log.info("drift is not weighed by importance", extra=failure(error))
            return {}

    def _publish(self, report: Report, profile: Profile, rows: Path, run: RunInfo, tracking: Tracking) -> None:
        html = html_report.html(report).encode()
        text = report.model_dump_json(indent=1).encode()
        folder = keys.report_folder(self.ports.artifact_bucket, self.upload_id)
        self.ports.store.put(f"{folder}report.html", html, content_type="text/html; charset=utf-8")
        self.ports.store.put(f"{folder}report.json", text, content_type="application/json")
        self.ports.book.update(
            self.upload_id,
            report_uri=f"{folder}report.html",
            report_json_uri=f"{folder}report.json",
            run_id=run.run_id,
            run_url=tracking.run_url(run),
        )
        files = {"report.html": html, "report.json": text, "profile.json": profile.model_dump_json().encode()}
        tracking.put_artifacts(run.run_id, {**files, **html_report.plots(report), "data/data.parquet": rows})
        tracking.log(run.run_id, metrics=_metrics(report))
        tracking.set_tags(run.run_id, {"verdict": report.verdict.word})
        tracking.log_dataset(
            run.run_id,
            DatasetInput(
                name=Path(self.record.key).name[:500],
                digest=report.provenance.dataset_id,
                source_uri=keys.snapshot(self.ports.data_bucket, report.provenance.dataset_id),
                schema=[{"name": c.name, "type": c.kind} for c in report.columns],
                rows=report.intake.rows_used,
                context="analysis",
            ),
        )

    def reference_profile(self, reference_id: str, workdir: Path) -> Profile:
        """The stored profile of the reference; counted again from the snapshot where there is none: settings may name a dataset of an
        upload that failed before its profile was there.
        """
        try:
            return Profile.model_validate_json(self.ports.store.get(self._profile_uri(reference_id)).body)
        except NotFound:
            snapshot = workdir / "reference.parquet"
            manifest = self.datasets.manifest(reference_id)
            self.ports.store.download(manifest.parts[0].uri, snapshot)
            profile = build_report.profile_of_snapshot(snapshot, manifest.data_schema, workdir)
            self.ports.store.put(
                self._profile_uri(reference_id), profile.model_dump_json().encode(), content_type="application/json"
            )
            return profile

    def _profile_uri(self, dataset_id: str) -> str:
        return keys.profile(self.ports.data_bucket, dataset_id)


def _metrics(report: Report) -> dict[str, float]:
    metrics: dict[str, float] = {
        "rows_in": report.intake.rows_in,
        "rows_used": report.intake.rows_used,
        "rows_quarantined": report.intake.rows_quarantined,
        "drifted_columns": len(report.drifted),
        "duplicates": report.duplicates,
    }
    for c in report.columns:
        scores = {"drift": c.effect_corrected, "psi": c.psi, "p_value": c.p_value, "matters": c.matters}
        metrics |= {f"{k}.{c.name}": v for k, v in {**scores, "missing": c.missing_share}.items() if v is not None}
    return metrics
