#!/usr/bin/env bash
# Installs what the tests need and runs them all. --full makes the large transfers larger (3 and 4 GiB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/packages.sh

case "${1:-}" in
  "") ;;
  --full) export FUMEHOOD_TEST_FULL=1 ;;
  *) die "usage: ./test.sh [--full]" ;;
esac

# What is built here is built once: the state of incremental builds would be a quarter of all that lies on the disk.
export CARGO_INCREMENTAL=0
room . 12 "what is built"
room "${TMPDIR:-/tmp}" 4 "the disks of the tests' machines"

# shellcheck disable=SC2046
step "installing what is missing" install mmdebstrap kmod gcc libc6-dev curl e2fsprogs runc tmux $(npm_package) \
  iproute2 git nginx fcgiwrap openssh-server openssh-client redis-server python3-venv umoci skopeo buildah \
  docker-registry apache2-utils busybox-static xfsprogs btrfs-progs \
  dpkg-dev ninja-build pkg-config flex bison libglib2.0-dev libseccomp-dev libfdt-dev zlib1g-dev
cache=${FUMEHOOD_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/fumehood}
FUMEHOOD_TEST_GAUNTLET=$cache/gauntlet/$(sha256sum tests/gauntlet/requirements.txt | cut -c 1-16)
api=$cache/api/$(sha256sum tests/api/requirements.txt | cut -c 1-16)
# It waits for registries while the compiler works.
fetch() {
  step "installing Bun and Deno" npm --prefix tests/clients/runtimes ci --ignore-scripts --prefer-offline --loglevel=error
  step "installing other people's clients" npm --prefix tests/clients/node ci --ignore-scripts --prefer-offline --loglevel=error
  if [ -n "${FUMEHOOD_TEST_FULL:-}" ]; then
    step "installing DeepSec" npm --prefix tests/clients/deepsec ci --ignore-scripts --omit=optional --prefer-offline --loglevel=error
  fi
  step "installing other people's clients for Python" tests/clients/prepare.sh "$cache"
  step "fetching servers and clients for the gauntlet" tests/gauntlet/prepare.sh "$FUMEHOOD_TEST_GAUNTLET"
  step "fetching what tests the API from outside" tests/api/prepare.sh "$api"
}
beside fetch

step "checking the format" cargo fmt --all --check
step "checking the shape" cargo xtask tidy
step "building the release binary" cargo build --quiet --release --locked -p fumehood
fumehood=$(realpath "${CARGO_TARGET_DIR:-target}")/release/fumehood
beside step "preparing kernel, image and templates" "$fumehood" setup
step "linting" cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
step "building the tests" cargo test --quiet --locked --workspace --no-run
step "building the guest agent for its tests" cargo build --quiet --locked -p guest
together

FUMEHOOD_TEST_KERNEL=$(find "$cache" -name vmlinux -path '*kernels*' | sort | tail -n 1)
export FUMEHOOD_TEST_KERNEL FUMEHOOD_TEST_GAUNTLET FUMEHOOD_TEST_BINARY=$fumehood FUMEHOOD_TEST_CACHE=$cache
# Far more than they take. What hangs is named by then.
tests() { timeout --foreground 50m cargo test --quiet --locked "$@"; }
step "unit and integration tests" tests --workspace --exclude tests
# Both emulators are tried: the gauntlet by the path's while our own is built, the other tests by that. Its cases are run one after
# another, so half of its groups are run beside, in a world of their own.
half=(smuggling:: link:: rules:: credentials:: transport:: hello::)
gauntlet() { FUMEHOOD_QEMU=$(command -v qemu-system-x86_64) tests -p tests --test gauntlet -- "$@"; }
beside step "building a QEMU of our own" nice -n 19 scripts/qemu.sh
beside step "the gauntlet: attacks on the gateway, from real guests" gauntlet "${half[@]}"
step "the rest of the gauntlet" gauntlet "${half[@]/#/--skip=}"
together
step "preparing templates for it" "$fumehood" setup
step "end-to-end tests on real guests" tests -p tests --test e2e -- --test-threads=2
