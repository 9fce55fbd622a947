#!/bin/sh
# Makes a bare clone ready: `sh scripts/setup.sh demo` or `sh scripts/setup.sh test`.
# Installs what is missing and nothing else, and says what and why. Debian and its
# derivatives, as root; elsewhere it goes on when nothing is missing, and exits 2 when
# something is.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
purpose=${1:?demo or test}

say() { printf '%s\n' "setup: $*" >&2; }
refuse() {
  say "$*"
  exit 2
}

[ "$(uname -s)" = Linux ] || refuse "Stratalog runs on Linux only."
[ "$(id -u)" = 0 ] || refuse "containers and mounts need root: run this with sudo, or in a virtual machine."
command -v node >/dev/null || refuse "Node.js 20.19 or newer is needed (https://nodejs.org)."
command -v npm >/dev/null || refuse "npm is needed; it usually comes with Node.js."
node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
  process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' ||
  refuse "Node.js 20.19 or newer is needed; this is $(node --version)."

# --- programs ---------------------------------------------------------------------------

packages=''
missing=''

# need WHAT PACKAGE WHY TEST…: the package is wanted unless the test succeeds.
need() {
  what=$1 package=$2 why=$3
  shift 3
  if "$@" >/dev/null 2>&1; then return; fi
  missing="$missing
  $what ($why): package $package"
  case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
}

# A busybox that needs shared libraries cannot run in an image that holds nothing else.
static_busybox() {
  busybox=${STRATALOG_BUSYBOX:-/bin/busybox}
  [ -x "$busybox" ] && ! ldd "$busybox" 2>/dev/null | grep -q '=>'
}

native_module_loads() { node -e 'require("fs-ext")'; }

gocode=/usr/share/gocode/src/github.com/containerd/containerd

need containerd containerd 'uses Stratalog as its snapshotter' command -v "${STRATALOG_CONTAINERD:-containerd}"
need ctr containerd 'asks containerd for pulls and containers' command -v "${STRATALOG_CTR:-ctr}"
need runc runc 'runs the containers' command -v runc
need docker-registry docker-registry 'serves the images that are pulled' command -v docker-registry
need 'a static busybox' busybox-static 'is what the images hold' static_busybox
if [ "$purpose" = test ]; then
  need mkfs.erofs erofs-utils 'writes EROFS layers' command -v mkfs.erofs
  need mksquashfs squashfs-tools 'writes squashfs layers' command -v mksquashfs
  need getfattr attr 'reads the extended attributes of layers' command -v getfattr
  need zstd zstd 'compresses layers, and unpacks them where Node.js does not' command -v zstd
  need mkfs.xfs xfsprogs 'makes a file system to lose power on' command -v mkfs.xfs
  need mkfs.btrfs btrfs-progs 'makes another one' command -v mkfs.btrfs
  need faketime faketime 'sets the clock of a daemon' command -v faketime
  need jq jq 'verifies an export without Stratalog' command -v jq
  need openssl openssl 'checks an attestation without Stratalog' command -v openssl
  need chromium chromium 'shows the page' command -v chromium
  need systemd-analyze systemd 'checks the unit files' command -v systemd-analyze
  need systemd-socket-activate systemd 'hands over a socket' command -v systemd-socket-activate
  need zsh zsh 'is asked what it completes' command -v zsh
  need fish fish 'is asked too' command -v fish
  need mandoc mandoc 'checks the man page' command -v mandoc
  need patchelf patchelf "runs runc of Debian's next release with its own C library" command -v patchelf
  need g++ g++ 'builds a module that Node.js refuses' command -v g++
  need go golang-go "builds containerd's own snapshotter suite" command -v go
  need "containerd's Go sources" golang-github-containerd-containerd-dev 'are that suite' \
    test -d "$gocode/snapshots/testsuite"
fi
if ! native_module_loads 2>/dev/null; then
  need python3 python3 'runs node-gyp, which builds the module for flock(2)' command -v python3
  need make make 'builds that module' command -v make
  need g++ g++ 'builds that module' command -v g++
fi

install_packages() {
  command -v apt-get >/dev/null ||
    refuse "these are missing, and only Debian's apt-get is known here:$missing"
  say "these are missing and will be installed with apt-get:$missing"
  export DEBIAN_FRONTEND=noninteractive
  output=$(mktemp)
  policy=''
  trap 'rm -f "$output" $policy' EXIT
  # The programs are wanted, not the services that their packages start.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  # shellcheck disable=SC2086 # a list of words
  if ! { apt-get -qq update && apt-get -qq install --yes --no-install-recommends $packages; } \
    >"$output" 2>&1 </dev/null; then
    cat "$output" >&2
    refuse "apt-get could not install:$packages"
  fi
}

if [ -n "$packages" ]; then (install_packages); fi

if [ "$purpose" = test ]; then
  next=$(sh scripts/debian-next.sh)
  mkdir -p .cache
  ln -sfn "$next" .cache/debian-next
fi

# --- npm packages -----------------------------------------------------------------------

# Whether node_modules holds what the lockfile asks for. Dates prove nothing after a clone.
modules_match_lockfile() {
  node -e '
    const { readFileSync } = require("node:fs");
    const read = (file) => JSON.parse(readFileSync(file, "utf8")).packages;
    const wanted = read("package-lock.json");
    const present = read("node_modules/.package-lock.json");
    for (const [path, { version, optional, devOptional }] of Object.entries(wanted)) {
      if (path === "" || optional || devOptional) continue;
      if (present[path]?.version !== version) process.exit(1);
    }' 2>/dev/null
}

if ! modules_match_lockfile || ! native_module_loads 2>/dev/null; then
  say 'node_modules does not hold what package-lock.json asks for: npm ci'
  npm ci --loglevel=error >&2
  native_module_loads || refuse 'npm ci went well, but the module fs-ext cannot be loaded.'
fi
