#!/bin/sh
# `npm run demo`: sets up, builds, and shows a crash that no container notices.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH
sh scripts/setup.sh demo
npm run --silent build
exec node --import tsx scripts/demo.ts "$@"
