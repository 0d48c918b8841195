"""Every key of the two buckets. No other module spells a folder or joins a bucket with one.

Data bucket: what is uploaded and what is derived from it. Artifact bucket: reports and MLflow's artifacts, so that nothing written
there is an upload. Functions return `s3://bucket/key`; a function named `…_folder` returns a prefix that ends in `/`, for lists.
docs/architecture.md says what each object is and how it is written.
"""

from __future__ import annotations

import hashlib
from typing import Final

# --- folders of the data bucket ------------------------------------------------------------------------------------------
INCOMING: Final = "incoming/"
BATCH: Final = "batch/"
DECISIONS: Final = "decisions/"
ERASURES: Final = "erasures/"
_CONFIG, _DATASETS, _UPLOADS, _QUARANTINE = "config/", "datasets/", "uploads/", "quarantine/"
_TUNING, _PROGRESS, _PREDICTIONS = "tuning/", "progress/", "predictions/"
_SERVING, _INTEGRITY = "serving/", "integrity/"
_CAPTURED, _LABELS, _MONITORING = "captured/", "labels/", "monitoring/"
_SHARDS = "shards/"
DATA: Final = (
    INCOMING, BATCH, _CONFIG, _DATASETS, _UPLOADS, _QUARANTINE, _TUNING, _PROGRESS, _SERVING, _INTEGRITY, DECISIONS,
    _PREDICTIONS, _CAPTURED, _LABELS, _MONITORING, _SHARDS, ERASURES,
)  # fmt: skip
# --- folders of the artifact bucket --------------------------------------------------------------------------------------
_REPORTS, _MLFLOW = "reports/", "mlflow/"
ARTIFACTS: Final = (_REPORTS, _MLFLOW)

UPLOADED: Final = (INCOMING, BATCH)  # written by clients; the other folders by the system
PRECIOUS: Final = (INCOMING, _UPLOADS, _DATASETS, _MLFLOW)  # lost with the bucket, and nobody can derive them again
# What `dropforge restore` puts aside because it would start work under its own key; read by people only.
RESTORED: Final = "restored/"
# Corrected rows of an upload come in under its id.
REPLAYED: Final = f"{INCOMING}replayed/"
# Parts of a folder, joined to one file.
JOINED: Final = f"{INCOMING}joined/"
PULLED: Final = f"{INCOMING}pulled/"
BATCH_REPLAYED: Final = f"{BATCH}replayed/"


def uri(bucket: str, key: str) -> str:
    """An object by its whole key, or a folder by its prefix."""
    return f"s3://{bucket}/{key}"


def is_entry_point(key: str) -> bool:
    """Whether readers begin with it: the pointer to the active model, records and index of uploads."""
    return key.startswith(_UPLOADS) or key == f"{_SERVING}active.json"


def is_open_upload(key: str) -> bool:
    """Whether it is an entry of the index of uploads that have not ended."""
    return key.startswith(f"{_UPLOADS}open/")


def is_of_recovery(key: str) -> bool:
    """Whether it says how far recovery has searched the versions of this very bucket."""
    return key == f"{_UPLOADS}recovery.json"


def is_in_force(key: str) -> bool:
    """Whether it is the settings in force, the one object that `up` and `apply` put into an empty system."""
    return key == f"{_CONFIG}settings.yaml"


def of_a_used_system(bucket: str) -> tuple[str, ...]:
    """Folders that are empty until something was uploaded or activated."""
    return tuple(uri(bucket, folder) for folder in (_UPLOADS, _DATASETS, _SERVING))


def restored(bucket: str) -> str:
    """Which backup was restored here."""
    return uri(bucket, f"{RESTORED}backup.txt")


# --- settings ------------------------------------------------------------------------------------------------------------
def settings(bucket: str) -> str:
    """The settings in force."""
    return uri(bucket, f"{_CONFIG}settings.yaml")


def settings_copy(bucket: str, sha256: str) -> str:
    """The immutable copy named by its content."""
    return uri(bucket, f"{_CONFIG}settings-{sha256}.yaml")


# --- uploads -------------------------------------------------------------------------------------------------------------
def upload(bucket: str, upload_id: str) -> str:
    """The state record."""
    return uri(bucket, f"{_UPLOADS}{upload_id}.json")


def uploads_of_prefix(bucket: str, digits: str) -> str:
    """The prefix of state records whose ids begin with these hex digits."""
    return uri(bucket, f"{_UPLOADS}{digits}")


def newest_upload(bucket: str) -> str:
    """The pointer to the upload received last."""
    return uri(bucket, f"{_UPLOADS}newest.json")


def round_of_uploads(bucket: str) -> str:
    """Which accepted uploads are trained together."""
    return uri(bucket, f"{_UPLOADS}round.json")


def parts_folder(bucket: str) -> str:
    """Records of folders whose parts are one upload."""
    return uri(bucket, f"{_UPLOADS}parts/")


def parts_of_folder(bucket: str, folder: str) -> str:
    """Which parts of this folder were read; hashed as keys are."""
    return f"{parts_folder(bucket)}{hashlib.sha256(folder.encode()).hexdigest()[:32]}.json"


def joined(content: str, name: str) -> str:
    """The key of parts joined to one file, by their content."""
    return f"{JOINED}{content}/{name}"


def pulled_position(bucket: str, source: str) -> str:
    """How far a source was pulled."""
    return uri(bucket, f"{_UPLOADS}pulled/{source}.json")


def pulled(source: str, position: str, suffix: str) -> str:
    """The key of rows pulled from a source, by the position at which they end."""
    return f"{PULLED}{source}/{hashlib.sha256(position.encode()).hexdigest()[:20]}{suffix}"


def pull_result(bucket: str, job_id: str) -> str:
    """What a pull in the worker brought; expires."""
    return uri(bucket, f"{_PROGRESS}pulls/{job_id}.json")


def query_results_folder(bucket: str, source: str, pull_id: str) -> str:
    """What Athena writes while a source is pulled; deleted after it, and expires where that fails."""
    return uri(bucket, f"{_PROGRESS}pulls/{source}/{pull_id}/")


def recovery(bucket: str) -> str:
    """How far recovery has searched."""
    return uri(bucket, f"{_UPLOADS}recovery.json")


def uploads_by_time_folder(bucket: str) -> str:
    """Index of uploads, newest first."""
    return uri(bucket, f"{_UPLOADS}by-time/")


def uploads_of_key_folder(bucket: str, key: str) -> str:
    """Keys are hashed: a key may hold anything, also what a log or a list must not show."""
    return uri(bucket, f"{_UPLOADS}by-key/{hashlib.sha256(key.encode()).hexdigest()[:32]}/")


def uploads_quarantined_folder(bucket: str) -> str:
    """Index of uploads with quarantined rows, newest first."""
    return uri(bucket, f"{_UPLOADS}quarantined/")


def uploads_open_folder(bucket: str, stage: str) -> str:
    """Index of uploads in this stage."""
    return uri(bucket, f"{_UPLOADS}open/{stage}/")


def quarantine_folder(bucket: str, upload_id: str) -> str:
    """Quarantined rows and reasons of an upload."""
    return uri(bucket, f"{_QUARANTINE}{upload_id}/")


# --- shards of large uploads: steps of one analysis, which expire --------------------------------------------------------
def shard_input(bucket: str, upload_id: str, group: str, name: str) -> str:
    """A file that shards are read from; `group`: where the upload is cut, or a stage."""
    return uri(bucket, f"{_SHARDS}{upload_id}/{group}/inputs/{name}")


def shard_task(bucket: str, upload_id: str, stage: str) -> str:
    """What a stage does with every shard."""
    return uri(bucket, f"{_SHARDS}{upload_id}/{stage}/task.json")


def shard_folder(bucket: str, upload_id: str, stage: str, number: int) -> str:
    """What came of one shard in a stage."""
    return uri(bucket, f"{_SHARDS}{upload_id}/{stage}/{number:05d}/")


def shard_result(folder: str) -> str:
    """Written last of a shard's folder."""
    return f"{folder}result.json"


def shard_failure(folder: str) -> str:
    """Why the last reading of a shard failed."""
    return f"{folder}failure.txt"


# --- results of uploads --------------------------------------------------------------------------------------------------
def predictions_folder(bucket: str, upload_id: str) -> str:
    """Scored rows of a batch file."""
    return uri(bucket, f"{_PREDICTIONS}{upload_id}/")


def predictions_part(bucket: str, upload_id: str, number: int, suffix: str) -> str:
    """Scored rows of one shard of a large batch file."""
    return uri(bucket, f"{_PREDICTIONS}{upload_id}/part-{number:05d}.{suffix}")


def progress(bucket: str, upload_id: str, model: str) -> str:
    """How far one model's training is."""
    return uri(bucket, f"{_PROGRESS}{upload_id}/{model}.json")


def report_folder(artifact_bucket: str, upload_id: str) -> str:
    """The report of an upload."""
    return uri(artifact_bucket, f"{_REPORTS}{upload_id}/")


def artifact_root(artifact_bucket: str) -> str:
    """Where MLflow's clients write artifacts."""
    return uri(artifact_bucket, _MLFLOW.rstrip("/"))


# --- decisions of people -------------------------------------------------------------------------------------------------
def upload_decision(bucket: str, upload_id: str) -> str:
    """The approval or rejection of an upload."""
    return uri(bucket, f"{DECISIONS}uploads/{upload_id}.json")


def dataset_decision(bucket: str, dataset_id: str, stamp: str, action: str) -> str:
    """A decision about a dataset, by its time."""
    return uri(bucket, f"{DECISIONS}datasets/{dataset_id}/{stamp}-{action}.json")


# --- datasets ------------------------------------------------------------------------------------------------------------
_SNAPSHOT, _MANIFEST, _PROFILE = "data.parquet", "manifest.json", "profile.json"


def reference(bucket: str) -> str:
    """Which dataset is the reference."""
    return uri(bucket, f"{_DATASETS}reference.json")


def history(bucket: str) -> str:
    """Accepted uploads in order."""
    return uri(bucket, f"{_DATASETS}history.json")


def rule_history(bucket: str) -> str:
    """How the rows of the last uploads fared under the rules of settings."""
    return uri(bucket, f"{_DATASETS}rules.json")


def last_reports(bucket: str) -> str:
    """Summaries of the last two reports."""
    return uri(bucket, f"{_DATASETS}last_reports.json")


def snapshot(bucket: str, dataset_id: str) -> str:
    """The accepted rows."""
    return uri(bucket, f"{_DATASETS}{dataset_id}/{_SNAPSHOT}")


def is_snapshot(key: str) -> bool:
    """Whether the key is the rows of a dataset."""
    return is_of_dataset(key) and key.endswith(f"/{_SNAPSHOT}")


def is_of_dataset(key: str) -> bool:
    """Whether the key is a file of a dataset."""
    return key.startswith(_DATASETS)


def dataset_manifest(bucket: str, dataset_id: str) -> str:
    """Manifest of a dataset."""
    return uri(bucket, f"{_DATASETS}{dataset_id}/{_MANIFEST}")


def profile(bucket: str, dataset_id: str) -> str:
    """Profile of a dataset."""
    return uri(bucket, f"{_DATASETS}{dataset_id}/{_PROFILE}")


def training_manifest(bucket: str, dataset_id: str, sha256: str) -> str:
    """The parts that a training reads."""
    return uri(bucket, f"{_DATASETS}{dataset_id}/training-{sha256}.json")


def training_request(bucket: str, dataset_id: str, upload_id: str) -> str:
    """The parts that a training reads."""
    return uri(bucket, f"{_DATASETS}{dataset_id}/requests/{upload_id}.json")


# --- training ------------------------------------------------------------------------------------------------------------
def study(bucket: str, job_id: str) -> str:
    """The folder of a study's journal, without a slash at its end."""
    return uri(bucket, f"{_TUNING}{job_id}")


def best_points(bucket: str, model: str) -> str:
    """Best points of the model's last study."""
    return uri(bucket, f"{_TUNING}best/{model}.json")


# --- serving -------------------------------------------------------------------------------------------------------------
def active(bucket: str) -> str:
    """The pointer to the model that answers."""
    return uri(bucket, f"{_SERVING}active.json")


def aliases(bucket: str) -> str:
    """The index of MLflow's aliases."""
    return uri(bucket, f"{_SERVING}labels.json")


def deployments_folder(bucket: str) -> str:
    """The deployment history of changes of the pointer."""
    return uri(bucket, f"{_SERVING}history/")


def looks(bucket: str, run_id: str) -> str:
    """How often an active model was compared on its held-out rows."""
    return uri(bucket, f"{_SERVING}looks/{run_id}.json")


def integrity_folder(bucket: str) -> str:
    """What was concluded about each model version."""
    return uri(bucket, _INTEGRITY)


# --- live traffic --------------------------------------------------------------------------------------------------------
def captured_folder(bucket: str, day: str) -> str:
    """Requests captured on a day."""
    return uri(bucket, f"{_CAPTURED}{day}/")


def labels_folder(bucket: str, day: str = "") -> str:
    """Of one day, or of all."""
    return uri(bucket, f"{_LABELS}{day}/" if day else _LABELS)


def window_rows(bucket: str, day: str, model: str, version: str) -> str:
    """Rows of a window of live traffic."""
    return uri(bucket, f"{_MONITORING}rows/{day}/{model}/{version}.parquet")


def windows_folder(bucket: str) -> str:
    """Every window."""
    return uri(bucket, f"{_MONITORING}windows/")


def window(bucket: str, day: str, model: str, version: str) -> str:
    """State of a window."""
    return uri(bucket, f"{_MONITORING}windows/{day}/{model}/{version}.json")


def monitoring_summary(bucket: str) -> str:
    """How far the last look at live traffic came."""
    return uri(bucket, f"{_MONITORING}summary.json")


def erasure(bucket: str, erasure_id: str) -> str:
    """The receipt of an erasure."""
    return uri(bucket, f"{ERASURES}{erasure_id}.json")
