#!/bin/sh
# `npm run test:containerd2 -- /path/to/containerd [vitest arguments]`: the end-to-end tests and
# the conformance suite with a containerd of the 2.x line. Its `ctr` must lie beside it, as in the
# release archives, or be named by STRATALOG_CTR.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

binary=${1:-${STRATALOG_CONTAINERD:-}}
if [ -z "$binary" ]; then
  echo 'usage: npm run test:containerd2 -- /path/to/containerd' >&2
  exit 2
fi
[ $# -eq 0 ] || shift
version=$("$binary" --version)
case "$version" in
  *' v2.'* | *' 2.'*) ;;
  *)
    echo "$binary is not of the 2.x line: $version" >&2
    exit 2
    ;;
esac
STRATALOG_CONTAINERD=$(readlink -f "$binary")
STRATALOG_CTR=${STRATALOG_CTR:-$(dirname "$STRATALOG_CONTAINERD")/ctr}
# The shim of that release, not of the one that the distribution has.
PATH="$(dirname "$STRATALOG_CONTAINERD"):$PATH"
export STRATALOG_CONTAINERD STRATALOG_CTR
sh scripts/setup.sh test
npm run --silent build
[ $# -gt 0 ] || set -- test/e2e test/conformance
exec npx --no-install vitest run "$@"
