# Sourced by quickstart.sh and test.sh: installs Debian packages that are missing, as root; else says which ones are.

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Runs a step and says how long it took.
step() {
  local what=$1 began=$SECONDS; shift
  say "$what"
  "$@" || die "$what: failed"
  say "$what: done in $((SECONDS - began)) s"
}

# beside FUNCTION: runs it in the background until `together`. It ends with this script, whatever ends that.
beside_pids=()
beside() {
  # A group of its own, so that all of it can be ended.
  set -m
  "$@" </dev/null &
  set +m
  beside_pids+=($!)
  trap end_beside EXIT
}
end_beside() {
  local pid
  for pid in "${beside_pids[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
}
# Waits for all that runs beside, and fails if one of them has.
together() {
  local pid
  for pid in "${beside_pids[@]}"; do wait "$pid" || exit 1; done
  beside_pids=()
}

# room FOLDER GIB WHAT: warns where a disk has less than this to spare.
room() {
  local spare
  spare=$(df --output=avail -B 1G "$1" | tail -n 1)
  [ "$spare" -ge "$2" ] || say "only ${spare// /} GiB are free in $(realpath "$1"), and $3 may need $2: make room if this fails with \"no space left\""
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

qemu_is_recent() {
  local version
  version=$(qemu-system-x86_64 --version 2>/dev/null | sed -nE '1s/.*version ([0-9]+)\..*/\1/p')
  [ -n "$version" ] && [ "$version" -ge 10 ] && command -v qemu-img >/dev/null
}

# need PACKAGE...: what is missing is put into the array `missing`.
need() {
  local package
  missing=()
  for package in "$@"; do installed "$package" || missing+=("$package"); done
}

codename() { . /etc/os-release && printf %s "${VERSION_CODENAME:-}"; }

# Debian 12 has QEMU 10 in its backports; the mirror is the one this machine uses already.
add_backports() {
  local suite mirror
  suite="$(codename)-backports"
  apt-get indextargets --format '$(CODENAME) $(SUITE)' 'Created-By: Packages' | grep -q "$suite" && return
  mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk -v name="$(codename)" '$2 == name { print $1; exit }')
  [ -n "$mirror" ] || die "no Debian mirror is configured for $(codename)"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$suite" > /etc/apt/sources.list.d/fumehood-backports.sources
}

# Packages of servers start them; what the tests need they start themselves.
services_denied=
deny_services() {
  [ -e /usr/sbin/policy-rc.d ] && return
  services_denied=1
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap allow_services EXIT
}
allow_services() { [ -z "$services_denied" ] || rm -f /usr/sbin/policy-rc.d; services_denied=; }

update() { apt-get update -qq >"$1" 2>&1 || { cat "$1" >&2; die "apt-get update failed"; }; }

# install PACKAGE...: the packages and a recent QEMU.
install() {
  need "$@"
  qemu_is_recent && [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    qemu_is_recent || say "needed, and not installed: qemu-system-x86 and qemu-utils of version 10.0 or newer (Debian 12: from bookworm-backports)"
    [ ${#missing[@]} -eq 0 ] || say "needed, and not installed: ${missing[*]}"
    die "install them as root, then run this again"
  fi
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  # Which mirror there is apt knows only once it has been there.
  update "$log"
  if ! qemu_is_recent && [ "$(codename)" = bookworm ]; then
    add_backports
    update "$log"
  fi
  if ! qemu_is_recent; then
    local from=()
    [ "$(codename)" = bookworm ] && from=(-t bookworm-backports)
    apt-get install -y -qq --no-install-recommends "${from[@]}" qemu-system-x86 qemu-utils >"$log" 2>&1 ||
      { cat "$log" >&2; die "QEMU could not be installed"; }
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    deny_services
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
      { cat "$log" >&2; die "${missing[*]} could not be installed"; }
  fi
  rm -f "$log"
  allow_services
  qemu_is_recent || die "QEMU 10.0 or newer is needed; this is $(qemu-system-x86_64 --version | head -1)"
}

# npm carries Node.js into the image; where there is another one than Debian's, that is used.
npm_package() { command -v npm >/dev/null || printf npm; }
