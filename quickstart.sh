#!/usr/bin/env bash
# From a fresh Debian 12 with Rust to a command in a sandbox. Run again, it takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. scripts/packages.sh

[ "$(uname -sm)" = "Linux x86_64" ] || die "fumehood runs on Linux on x86-64 for now; this is $(uname -sm)"
command -v apt-get >/dev/null || die "this script installs Debian packages (tested on Debian 12); elsewhere see README.md, \"By hand\""
command -v cargo >/dev/null || die "Rust is missing: see https://rustup.rs, version 1.95 or newer"

# shellcheck disable=SC2046
step "installing what is missing" install mmdebstrap kmod gcc libc6-dev $(npm_package)
step "building the release binary" cargo build --quiet --release --locked -p fumehood

fumehood=${CARGO_TARGET_DIR:-target}/release/fumehood
step "preparing kernel, image and templates" "$fumehood" setup
step "running a command in a sandbox" "$fumehood" run -- sh -c 'echo "hello from $(uname -sr), host name $(hostname)"'

cat >&2 <<EOF

It works. Commands to try next:

  $fumehood run -it -- bash                       # a shell in a machine of its own
  $fumehood run -- python3 -c 'print(6 * 7)'      # any program; it and its machine are gone afterwards
  $fumehood doctor                                # what this computer can do, and what it cannot
  scripts/qemu.sh                                 # five minutes for machines that start sooner and are smaller
EOF
