#!/usr/bin/env bash
# prepare.sh CACHE: makes in CACHE/clients a venv for each of Python's clients, once for each list of
# packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for list in "$here"/python/vercel-*.txt; do
  folder=$1/clients/$(sha256sum "$list" | cut -c 1-16)
  [ -e "$folder/complete" ] && continue
  rm -rf "$folder"
  mkdir -p "$(dirname "$folder")"
  # A venv holds its own path, so it is made where it stays.
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --no-compile -r "$list"
  touch "$folder/complete"
done
