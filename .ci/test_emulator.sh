#!/usr/bin/env bash
# The integration suite on an emulator that runs already, at AWS_ENDPOINT_URL: `make test-emulator`. What it cannot show is skipped with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${AWS_ENDPOINT_URL:?name the emulator: AWS_ENDPOINT_URL=http://127.0.0.1:4566 make test-emulator}"
export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-test} AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-test} DROPFORGE_TEST_EMULATOR=external
.venv/bin/pytest -q ${TESTS:-tests/integration} "$@"
