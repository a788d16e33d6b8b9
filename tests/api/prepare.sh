#!/usr/bin/env bash
# prepare.sh FOLDER: makes there a venv with what tests the API from outside. Made once for each
# requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$1
[ -e "$folder/complete" ] && exit
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
touch "$folder/complete"
