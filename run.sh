#!/usr/bin/env bash
# The whole way, in order: environment, training, prediction, and a page that shows them.
#   ./run.sh fold=0..4                            the embedded demo competition
#   ./run.sh fold=0..4 config=NAME key=value ...  your own
#   ./run.sh test [pytest words]                  the tests
set -euo pipefail

home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
need="$home/requirements.txt"
export PYTHONSAFEPATH=1  # a random.py where you stand is not Python's own

usage() { echo "error: $1; usage: ./run.sh fold=0..4 [config=NAME] [key=value ...], or ./run.sh test" >&2; exit 2; }

# Words are looked at before a minute is spent on setting up; their meaning is checked by src.run.
[ $# -gt 0 ] || set -- fold=0..4
if [ "$1" != test ]; then
  for word in "$@"; do
    case $word in
      -h | --help) sed -n '2,5s/^# //p' "$0"; exit ;;
      --json | [a-z]*=?*) ;;
      *) usage "'$word' is not understood" ;;
    esac
  done
fi

# Prints the first requirement that this Python lacks, nothing when all are there.
lacks() {
  "$1" - "$need" <<'PYTHON' 2>/dev/null || echo "Python 3.11 or newer"
import re, sys
from importlib.metadata import PackageNotFoundError, version
if sys.version_info < (3, 11):
    sys.exit(1)
for line in open(sys.argv[1]):
    if name := re.match(r"[\w.-]+", line):
        wanted = line.split("#")[0].strip().partition("==")[2]
        try:
            there = version(name[0]).partition("+")[0]
        except PackageNotFoundError:
            there = None
        if there is None or wanted and there != wanted:
            print(line.strip())
            break
PYTHON
}

# Fetches many packages at once and shows how far each is: less than half the time of pip alone.
uv_version=0.13.9

set_up() {
  local mark="$home/.venv/requirements.$(cksum <"$need" | tr -d ' ')"
  python="$home/.venv/bin/python"
  if [ -e "$mark" ] && [ -x "$python" ]; then return; fi
  local base uv code=0
  base=$(command -v python3 || command -v python) || { echo "error: no python3 here: install Python 3.11 or newer" >&2; exit 1; }
  echo "setting up $home/.venv, once: 3 GB to fetch, 6 GB on the disk. After Ctrl-C the same command goes on" >&2
  if uv=$(command -v uv); then
    "$uv" venv --quiet --allow-existing --python ">=3.11" "$home/.venv"
  else
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $base is older than Python 3.11" >&2; exit 1; }
    "$base" -m venv "$home/.venv" || { echo "error: $base cannot make environments: install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }
    uv="$home/.venv/bin/uv"
    "$python" -m pip install -qq --disable-pip-version-check "uv==$uv_version" >/dev/null 2>&1 || rm -f "$uv"
  fi
  if [ -x "$uv" ]; then
    "$uv" pip install --python "$python" -r "$need" >&2 || code=$?
    [ $code != 130 ] || exit 130
  fi
  # What pip is set up for (an index or certificates of your own) uv may not know.
  if [ ! -x "$uv" ] || { [ $code != 0 ] && [ "$uv" = "$home/.venv/bin/uv" ]; }; then
    "$python" -m pip install --no-compile --disable-pip-version-check -r "$need" >&2
  elif [ $code != 0 ]; then
    exit 1
  fi
  rm -f "$home"/.venv/requirements.*
  touch "$mark"  # written last, so its existence means that the environment is whole
}

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [ -n "$active" ] && [ -x "$active/bin/python" ] && [ -z "$(lacks "$active/bin/python")" ]; then
  python="$active/bin/python"
else
  [ -z "$active" ] || echo "the active environment lacks $(lacks "$active/bin/python"): using $home/.venv" >&2
  set_up
fi

# Podium is found by PYTHONPATH, so paths on the command line stay relative to where you are.
export PYTHONPATH="$home${PYTHONPATH:+:$PYTHONPATH}"
if [ "$1" = test ]; then
  shift
  cd "$home"
  exec "$python" -m pytest "$@"
fi
exec "$python" -m src.run "$@"
