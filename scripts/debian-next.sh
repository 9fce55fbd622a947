#!/bin/sh
# Programs of Debian's next release that the tests run and this release does not have, such as
# containerd 2.x and Docker Engine 28. They are unpacked into a cache of the machine and never installed. Prints the
# cache's directory. Later runs find it there and need no network; to have newer versions, delete it.
#
# apt works in a directory of its own, with the mirror, the keyring and the Acquire settings of
# the host; the host's packages and its apt configuration stay as they are.
#
# STRATALOG_NEXT_RELEASE names another release.
set -eu
release=${STRATALOG_NEXT_RELEASE:-forky}
store=/var/cache/stratalog-test
# Raise the number when the list of programs changes.
cache=$store/$release-3

say() { printf '%s\n' "debian-next: $*" >&2; }
refuse() {
  say "$*"
  say "the tests need containerd 2.x and Docker Engine of Debian $release; STRATALOG_NEXT_RELEASE names another release, and $cache may be copied from another machine"
  exit 2
}

if [ -d "$cache" ]; then
  echo "$cache"
  exit 0
fi
for program in apt-get apt-config dpkg-deb patchelf; do
  command -v "$program" >/dev/null || refuse "cannot fetch packages of $release: $program is not installed"
done

mkdir -p "$store"
# Leftovers of a run that was killed. Another run of now has its own.
find "$store" -mindepth 1 -maxdepth 1 -name 'partial.*' -mmin +60 -exec rm -rf {} +
work=$(mktemp -d "$store/partial.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# apt fetches as the user _apt.
chmod 755 "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/out"
: >"$work/apt/status"

# --- the host's mirror and its keyring --------------------------------------------------

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# `URI KEYRING` of the entries for the host's own release; the keyring may be absent.
deb822_entries() {
  for file in /etc/apt/sources.list.d/*.sources; do
    if [ -e "$file" ]; then cat "$file" && echo; fi
  done | awk -v suite="$codename" 'BEGIN { RS = ""; FS = "\n" } {
    uri = keyring = types = suites = ""; enabled = 1
    for (i = 1; i <= NF; i++) {
      if ($i ~ /^#/) continue
      name = tolower($i); sub(/:.*/, "", name)
      value = $i; sub(/^[^:]*:[ \t]*/, "", value)
      if (name == "uris") { split(value, uris, /[ \t]+/); uri = uris[1] }
      if (name == "types") types = " " value " "
      if (name == "suites") suites = " " value " "
      if (name == "signed-by") keyring = value
      if (name == "enabled" && tolower(value) == "no") enabled = 0
    }
    if (enabled && types ~ / deb / && index(suites, " " suite " ")) print uri, keyring
  }'
}
one_line_entries() {
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    if [ -e "$file" ]; then cat "$file" && echo; fi
  done | awk -v suite="$codename" '$1 == "deb" {
    keyring = ""
    if (match($0, /\[[^]]*\]/)) {
      options = substr($0, RSTART + 1, RLENGTH - 2); sub(/\[[^]]*\]/, "")
      if (match(options, /signed-by=[^ ]*/)) keyring = substr(options, RSTART + 10, RLENGTH - 10)
    }
    if ($3 == suite) print $2, keyring
  }'
}
entry=$( (deb822_entries && one_line_entries) | head -n 1)
mirror=${entry%% *} keyring=${entry#* }
[ -n "$mirror" ] || refuse "cannot fetch packages of $release: apt has no source for '$codename'"
case $keyring in
  /*) ;;
  # A key that stands in the entry itself, or none: Debian's keyring signs all its releases.
  *) keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;;
esac

echo "deb [signed-by=$keyring] $mirror $release main" >"$work/apt/sources.list"
{
  # Proxies and certificates. Hooks of the host must not run here.
  apt-config dump | grep '^Acquire::' || true
  cat <<Y
Acquire::Languages "none";
Dir::State "$work/apt";
Dir::State::lists "$work/apt/lists";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Y
} >"$work/apt/apt.conf"
APT_CONFIG=$work/apt/apt.conf
export APT_CONFIG

quietly() {
  "$@" >"$work/log" 2>&1 </dev/null || {
    cat "$work/log" >&2
    refuse "failed: $*"
  }
}

# --- the packages -----------------------------------------------------------------------

# take PACKAGE FOLDER FILE…: the files of the package, each found by the end of its path.
take() {
  package=$1 folder=$work/out/$2
  shift 2
  rm -rf "$work/unpacked" "$work"/*.deb
  (cd "$work" && quietly apt-get --quiet download "$package")
  quietly dpkg-deb --extract "$work/$package"_*.deb "$work/unpacked"
  mkdir -p "$folder"
  for file in "$@"; do
    found=$(find "$work/unpacked" ! -type d -path "*/$file" | head -n 1)
    [ -n "$found" ] || refuse "package $package of $release has no file $file"
    cp -L "$found" "$folder/"
  done
}

say "fetching containerd 2.x and Docker Engine of Debian $release (70 MB) into $cache"
quietly apt-get --quiet update
take containerd containerd bin/containerd bin/ctr bin/containerd-shim-runc-v2
take docker.io docker sbin/dockerd
take docker-cli docker bin/docker
take docker-buildx docker/cli-plugins cli-plugins/docker-buildx
take golang-k8s-cri-api-dev cri-api runtime/v1/api.proto
# Pods with user namespaces need runc 1.2, which needs a newer C library than Debian 12 has.
take runc runc sbin/runc
take libseccomp2 runc/lib libseccomp.so.2
take libc6 runc/lib libc.so.6 'ld-linux*.so.*'
loader=$(basename "$work"/out/runc/lib/ld-linux*)
patchelf --set-interpreter "$cache/runc/lib/$loader" --set-rpath "$cache/runc/lib" "$work/out/runc/runc"

# Built against a newer C library: whether they run here is known only by running them.
for program in containerd/containerd containerd/ctr docker/dockerd docker/docker; do
  quietly "$work/out/$program" --version
done
quietly "$work/out/docker/cli-plugins/docker-buildx" version
version=$("$work/out/containerd/containerd" --version)
case $version in
  *' 2.'* | *' v2.'*) ;;
  *) refuse "containerd of $release is not of the 2.x line: $version" ;;
esac

# Another run may have been faster; its cache is as good.
mv --no-target-directory "$work/out" "$cache" 2>/dev/null || [ -d "$cache" ] ||
  refuse "cannot make $cache"
"$cache/runc/runc" --version >/dev/null 2>&1 || {
  rm -rf "$cache"
  refuse "runc of $release does not run here"
}
echo "$cache"
