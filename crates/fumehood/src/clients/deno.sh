#!/bin/sh
# fumehood: Deno takes nothing to load first from the environment, so it is told here, before its own
# program, the next of this name on the path.
own=$(cd "$(dirname "$0")" && pwd)
deno=
IFS=:
for folder in $PATH; do
  if [ "$folder" != "$own" ] && [ -x "$folder/deno" ]; then
    deno=$folder/deno
    break
  fi
done
unset IFS
if [ -z "$deno" ]; then
  echo "deno: not found on the path behind $own" >&2
  exit 127
fi
[ -n "${FUMEHOOD_SHIM-}" ] || exec "$deno" "$@"
case ${1-} in
  run | serve | test | bench | eval | repl)
    command=$1
    shift
    exec "$deno" "$command" --preload "$FUMEHOOD_SHIM" "$@"
    ;;
esac
# A program without a command before it is one to run.
for word in "$@"; do
  case $word in
    -h | --help | -V | -v | --version) break ;;
    -*) ;;
    *)
      [ -f "$word" ] && exec "$deno" run --preload "$FUMEHOOD_SHIM" "$@"
      break
      ;;
  esac
done
exec "$deno" "$@"
