"""The promises of docs/reliability.md: what is promised, how it is tried, and tests outside this folder that back it too.

Tests in this folder say with `@pytest.mark.promise(n)` what they back. A promise that no test backs is told as not tried.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    number: int
    words: str
    tried: str
    tests: tuple[str, ...] = ()  # files or file::test, beside the marked ones


A, U, F, I = "tests/architecture/", "tests/unit/", "tests/faults/", "tests/integration/"  # noqa: E741 - integration
PROMISES = (
    Promise(1, "An event that comes several times is one run", "every upload delivered five times, shuffled, four at once"),
    Promise(2, "Of one key the newest version wins, in whatever order events come", "overwrites, their events shuffled"),
    Promise(3, "Any key survives its encoding", "random Unicode keys through the notification"),
    Promise(4, "A test event is no upload", "s3:TestEvent, empty and foreign events"),
    Promise(
        5,
        "An event that fails every time leaves a failure record",
        "the template's OnFailure destination; events that raise, on the local cloud",
        (A + "test_template.py::test_a_lost_event_leaves_a_trace", F + "test_cloud.py::test_every_failed_event_is_kept"),
    ),
    Promise(6, "Every object reaches a terminal state", "events suppressed; stores that fail; recovery afterwards"),
    Promise(7, "A slow job is not done twice at once", "a job three times as long as its visibility, a second worker asking"),
    Promise(8, "A poison message stops nothing", "one message in ten is no job, two workers, SQS of the emulator"),
    Promise(9, "Dead letters can be delivered again", "dropforge redrive on full dead-letter queues"),
    Promise(10, "One upload is one execution", "one event delivered by many threads in the same moment"),
    Promise(11, "Transient errors are retried", "a proxy that refuses, resets and cuts 30 % of the calls to S3"),
    Promise(12, "Payloads carry addresses, never data", "a wide table's workflow input beside a narrow one's"),
    Promise(
        13,
        "A silent worker ends as failed, within the deadline",
        "the real state machine with short deadlines, its worker stopped with SIGSTOP",
        (A + "test_template.py::test_every_wait_has_an_end", F + "test_cloud.py::test_a_paused_worker_ends_as_failed"),
    ),
    Promise(14, "Conditional writes are whole, and made once", "racing writers; writes whose answers are lost"),
    Promise(
        15,
        "Killed training goes on where it was",
        "an interrupted job; workers killed with SIGKILL in the campaign below",
        (
            U + "training/test_train_job.py",
            I + "test_line.py::test_an_upload_survives_a_killed_worker_and_a_restart_of_the_whole_cloud",
        ),
    ),
    Promise(16, "Parallel tuning loses and repeats nothing",
            "many writers on one study journal", (U + "training/test_study_journal.py",)),
    Promise(17, "Predictions go on through failure", "100 switches under load, the store failing, MLflow absent"),
    Promise(18, "The way back is one command",
            "rollback through the deployment history, without the registry", (U + "deployment/test_history.py",)),
    Promise(
        19,
        "An unknown model is 404, a lost race 409",
        "unknown aliases, models, versions; switches at once",
        (F + "test_bad_requests.py::test_33_an_unknown_version", U + "deployment/test_activate.py"),
    ),
    Promise(20, "Ready only with a checked model", "health without a model, and with one"),
    Promise(21, "A bad request is never a 5xx", "random bodies for every route; faults 25 to 34", (F + "test_bad_requests.py",)),
    Promise(
        22,
        "Every route has an access decision",
        "template, code and table compared",
        (A + "test_template.py::test_every_route_has_an_access_decision",),
    ),
    Promise(23, "No code runs on model load", "ten hostile artifacts, hashes right; the import contract", (A + "test_imports.py",)),
    Promise(24, "An altered bundle is refused", "one byte flipped, anywhere"),
    Promise(25, "No traversal, no call out, no live script", "50 paths and addresses in every text; scripts and formulas in cells"),
    Promise(26, "MLflow answers its own host only", "foreign hosts, foreign origins, file: and ../ sources",
            (F + "test_cloud.py::test_mlflow_answers_its_own_host_only",)),
    Promise(
        27,
        "Resources are bounded",
        "gzip, zstd, Parquet and Excel bombs, 5,000 columns, 5 MB cells, 100,000 levels, bodies over the limit",
        tuple(F + f"test_bad_{t}" for t in (
            "files.py::test_a_gzip_bomb_stops_at_the_byte_budget",
            "files.py::test_a_file_that_unpacks_to_far_more_is_rejected",
            "files.py::test_a_parquet_file_of_too_many_rows_is_refused_by_its_own_claim",
            "files.py::test_thousands_of_columns_are_refused_by_the_limit",
            "files.py::test_a_field_of_megabytes_is_set_aside",
            "requests.py::test_26_deep_nesting",
            "requests.py::test_31_too_many_rows_and_bytes",
        )),
    ),
    Promise(28, "Load is held", "callers without a pause while models switch; the soak below over HTTP"),
    Promise(29, "Hours change nothing", "the soak below: memory and file handles of every process"),
    Promise(30, "The served graph equals the trained pipeline", "every held-out row of every training; every row in the tests",
            (U + "serving/test_predictor.py::test_it_equals_the_pipeline_on_every_row",
             U + "training/test_train_job.py::test_a_job_leaves_a_proven_bundle_and_a_loadable_model",
             U + "training/test_train_job.py::test_a_bundle_that_differs_is_never_stored")),
    Promise(31, "No row is silently lost", "files with random broken rows; the campaign below"),
    Promise(32, "Least privilege; no secret in a log", "reviewed roles; a canary secret in failing calls", (A + "test_roles.py",)),
    Promise(33, "Nothing the system writes starts it again", "notification filters and rights of the template",
            (A + "test_template.py::test_nothing_the_system_writes_can_start_an_analysis",)),
)  # fmt: skip
FAULTS = (
    Promise(36, "S3 answers 503 or resets", "as promise 11"),
    Promise(38, "Disk or memory run out in a job", "RLIMIT_FSIZE of 64 kB; RLIMIT_AS of 300 MB above what is used"),
    Promise(39, "A model is swapped or poisoned", "the bytes behind a version exchanged, then switched to"),
    Promise(
        40,
        "Clock jumps, doubled messages, deleted objects",
        "recovery's clock two days off; a job again after its success",
    ),
)
# What a machine of one's own cannot show.
NOT_PROVEN = (
    "IAM beyond what the emulator enforces: the state machine's role, the role of event sources, trust policies, iam:PassRole.",
    "Throttling, quotas and concurrency limits of the services, and their effect on retries of up to six hours.",
    "Cold starts, SnapStart, memory limits and the 6 MB and 256 KB limits of Lambda and Step Functions as AWS enforces them.",
    "HeartbeatSeconds of Step Functions: the emulator ignores it; the task's TimeoutSeconds beside it was tried.",
    "S3's own duplicates, delays and orderings of events: they are played here, not observed.",
    "Fargate: tasks that are evicted, spot interruptions, image pulls. The worker's process was killed and paused instead.",
    "The managed MLflow, KMS keys, VPC endpoints, WAF, cross-region failover, and restoring from backups.",
    "Several days of uptime, and more load than two cores can make.",
)
