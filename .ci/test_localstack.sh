#!/usr/bin/env bash
# LocalStack 4.14.0, the last release without a token, in host mode: `make test-localstack`. Python 3.13 is needed. The contract tests
# (S3, SQS, the state machine) run on it always; the integration suite where Docker answers, as LocalStack runs Lambda in containers
# and always pulls the image of a runtime (Debian's docker-registry on loopback does). Exit code 2: that half was not run.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.13}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || { echo "LocalStack 4.14.0 needs Python 3.13: make test-localstack PYTHON=python3.13" >&2; exit 2; }
port=${LOCALSTACK_PORT:-4668}
# These versions and no newer ones: what 4.14.0 leaves open breaks it today (cbor2 6, pyOpenSSL 26).
if [ ! -e .venv-localstack/.ready ]; then
  "$PYTHON" -m venv .venv-localstack
  .venv-localstack/bin/pip install --quiet 'localstack-core[runtime]==4.14.0' 'localstack==4.14.0' 'cryptography<45' 'pyopenssl<25' \
    'cbor2<6' 'joserfc<1.3' 'service_identity<24.3'
  touch .venv-localstack/.ready
fi
# OVERRIDE_IN_DOCKER: inside a container it would listen on every address. PYTHONDONTWRITEBYTECODE and the data folder: nothing stays.
data=$(mktemp -d)
env GATEWAY_LISTEN="127.0.0.1:$port" OVERRIDE_IN_DOCKER=0 DISABLE_EVENTS=1 EAGER_SERVICE_LOADING=0 SKIP_SSL_CERT_DOWNLOAD=1 \
  FILESYSTEM_ROOT="$data" LOCALSTACK_VOLUME_DIR="$data" .venv-localstack/bin/python -m localstack.runtime.main >.localstack.log 2>&1 &
emulator=$!
trap 'kill "$emulator" 2>/dev/null || true; wait "$emulator" 2>/dev/null || true; rm -rf "$data"' EXIT
for _ in $(seq 120); do
  curl -fsS "http://127.0.0.1:$port/_localstack/health" >/dev/null 2>&1 && break
  kill -0 "$emulator" || { tail -n 20 .localstack.log >&2; exit 1; }
  sleep 1
done
export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
TESTS=tests/contracts .ci/test_emulator.sh -k external
if docker info >/dev/null 2>&1; then
  .ci/test_emulator.sh "$@"
else
  echo "the integration suite was not run: LocalStack runs every function in a container, and no Docker answers here. Start Docker, or use the project's own emulator: make test" >&2
  exit 2
fi
