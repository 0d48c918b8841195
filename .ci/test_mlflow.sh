#!/usr/bin/env bash
# The contract tests of MLflow with the locked client, on a server of another version: `make test-mlflow MLFLOW=3.4.0`.
# A managed server is as old as AWS offers it, and the client is not.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${MLFLOW:?name the version of the server}
folder=$(mktemp -d)
# MLflow's command starts the server as a child: the group ends, not the command alone.
trap 'if [ -n "${server:-}" ]; then kill -- "-$server" 2>/dev/null || true; fi; rm -rf "$folder"' EXIT
.venv/bin/uv venv --quiet "$folder/venv"
.venv/bin/uv pip install --quiet --python "$folder/venv/bin/python" "mlflow==$version" boto3 "setuptools<81" "sqlalchemy<2.1" # what old ones leave open
port=$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
setsid env MLFLOW_DISABLE_TELEMETRY=true "$folder/venv/bin/mlflow" server --host 127.0.0.1 --port "$port" --workers 1 \
  --backend-store-uri "sqlite:///$folder/mlflow.db" --default-artifact-root s3://artifacts/mlflow >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 120); do
  curl -fsS "http://127.0.0.1:$port/health" >/dev/null 2>&1 && break
  kill -0 "$server" || { tail -n 20 "$folder/log" >&2; exit 1; }
  sleep 1
done
echo "server: MLflow $(curl -fsS "http://127.0.0.1:$port/version"), client: $(.venv/bin/python -c 'import mlflow; print(mlflow.__version__)')"
DROPFORGE_TEST_MLFLOW="http://127.0.0.1:$port" .venv/bin/pytest -q tests/contracts/test_mlflow.py -k "mlflow" "$@"
