#!/bin/sh
# `npm test`: sets up, then lint, types, build, and all tests. Arguments go to vitest.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH
sh scripts/setup.sh test
npm run --silent lint
npm run --silent typecheck
npm run --silent build
exec npx --no-install vitest run "$@"
