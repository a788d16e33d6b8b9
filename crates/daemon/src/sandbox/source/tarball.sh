# sh -c … sh URL, in the working folder. tar finds out how a file is compressed, not a stream.
set -eu
exec 2>&1
archive=$(mktemp)
trap 'rm -f "$archive"' EXIT
curl -fsSL -o "$archive" "$1" || {
    status=$?
    if [ "$status" = 60 ]; then
        echo "if this computer trusts its authority, have guests do so too: \`trustHostCa\` of the create, or \`fumehood serve --trust-host-ca\`"
    fi
    exit "$status"
}
tar -xf "$archive"
