#!/usr/bin/env bash
# prepare.sh FOLDER: makes there what the gauntlet needs from PyPI: a venv for its servers, and in
# it `site` and `site-grpc` for programs in guests (Python 3.13). Made once for each requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
[ -e "$folder/complete" ] && exit
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
made=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$made"' EXIT
# A venv holds its own path, so it is made where it stays.
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
of_guests() {
  "$folder/bin/pip" install --quiet --disable-pip-version-check --no-compile --target "$made/$1" \
    --python-version 3.13 --only-binary=:all: --platform manylinux_2_28_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "${@:2}"
}
pinned() { grep "^$1==" "$here/requirements.txt"; }
of_guests site "$(pinned h2)" "$(pinned websockets)"
of_guests site-grpc "$(pinned grpcio)"
mv "$made/site" "$made/site-grpc" "$folder/"
touch "$folder/complete"
