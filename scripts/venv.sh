#!/bin/sh
# Makes .venv, where it is missing, and installs the gateway in it: `sh scripts/venv.sh run|test|check`.
set -eu

case "$1" in
run) what=. ;;
test) what='.[test]' ;;
check) what='.[test,check]' ;;
*) echo "usage: sh scripts/venv.sh run|test|check" >&2; exit 2 ;;
esac

find_python() {
    for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        # Run each: version managers leave commands on the PATH that only say "not installed".
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    echo "Python 3.11 or newer is missing: install it (Debian, Ubuntu: apt-get install python3 python3-venv) or set PYTHON=/path/to/it." >&2
    exit 1
}

if ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version)"
    if ! "$python" -m venv --clear .venv >/dev/null 2>&1; then
        rm -rf .venv
        echo "$python cannot make virtual environments: install its venv package (Debian, Ubuntu: apt-get install python3-venv)." >&2
        exit 1
    fi
fi

echo "Installing tesgw and what it needs for '$1' (the first time this takes up to a minute)"
# uv takes a fifth of the time. It does not know pip's own settings (index, certificates), so where it fails pip gets its turn.
if [ -x .venv/bin/uv ] || .venv/bin/python -m pip install -q --disable-pip-version-check uv >/dev/null 2>&1; then
    .venv/bin/uv pip install -q --python .venv/bin/python -e "$what" 2>/dev/null && exit 0
fi
.venv/bin/python -m pip install -q --disable-pip-version-check -e "$what"
