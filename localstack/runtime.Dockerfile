# The runtime of the functions with the packages of every layer and of the training image in it, for emulators that run functions in
# containers and mount no layers (docs/emulators.md). Build from the repository's root:
#   docker build -f localstack/runtime.Dockerfile -t dropforge-runtime .
ARG BASE=public.ecr.aws/lambda/python:3.13
FROM ${BASE}
# Another package index: --build-arg PIP_INDEX_URL=… ; every file is checked by hash wherever it comes from.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# OpenMP for LightGBM, which brings none of its own.
RUN if command -v dnf >/dev/null; then dnf install --assumeyes libgomp && dnf clean all; fi
COPY layers/core/requirements.txt /tmp/locks/core.txt
COPY layers/analysis/requirements.txt /tmp/locks/analysis.txt
COPY layers/registry/requirements.txt /tmp/locks/registry.txt
COPY layers/serving/requirements.txt /tmp/locks/serving.txt
COPY training/requirements.txt /tmp/locks/training.txt
# Where layers would be mounted, by a link: LocalStack changes the mode of every file below /opt at each start of a function.
# The locks agree: each version comes once.
RUN pip install --quiet --require-hashes --no-deps --target /var/packages $(printf -- '--requirement %s ' /tmp/locks/*.txt) \
    && mkdir -p /opt && rm -rf /opt/python && ln -s /var/packages /opt/python && rm -r /tmp/locks
