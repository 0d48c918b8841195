#!/bin/sh
# MiniStack (and LocalStack, whose place for hooks this is) runs this from /etc/localstack/init/ready.d as soon as its services
# answer, with the address and root credentials in the environment. What it prints is in the emulator's log.
set -eu
exec python -m dropforge_local.ready
