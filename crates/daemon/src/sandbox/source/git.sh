# sh -c … sh URL REVISION DEPTH, in the working folder; a REVISION or DEPTH that is empty is none.
set -eu
exec 2>&1
git init -q
git remote add origin "$1"
revision=$2
if [ -z "$revision" ]; then
    # The branch that the repository itself stands on.
    revision=$(git ls-remote --symref origin HEAD | sed -n 's|^ref: refs/heads/\(.*\)\tHEAD$|\1|p')
fi
if [ -n "$3" ]; then
    git fetch -q --depth="$3" origin "${revision:-HEAD}"
else
    git fetch -q --tags origin
fi
if [ -z "$revision" ]; then
    exit # An empty repository.
elif git show-ref -q --verify "refs/remotes/origin/$revision"; then
    git checkout -q -f -B "$revision" "origin/$revision"
elif [ -n "$3" ]; then
    git checkout -q -f --detach FETCH_HEAD
elif git rev-parse -q --verify "$revision^{commit}" > /dev/null; then
    git checkout -q -f --detach "$revision^{commit}"
else
    echo "the repository has no branch, tag or commit '$revision'"
    exit 1
fi
