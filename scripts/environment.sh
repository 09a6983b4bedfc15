# Sourced by the other scripts: makes .venv beside the sources and installs this package with its tested versions.
#   prepare_environment EXTRAS    e.g. "mpi,digits"; does nothing where the same was installed before

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.10 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
            2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10, 3.11 or 3.12 found; install one, or name it: PYTHON=/path/to/python bash $0" >&2
    return 2
}

prepare_environment() {
    local extras=$1 python stamp
    python=$(find_python) || return 2
    # made anew where it is broken, unfinished, or was moved: its programs carry absolute paths
    if [ "$(cat .venv/made-in 2>/dev/null)" != "$PWD" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        "$python" -m venv --clear .venv || return 2
        echo "$PWD" >.venv/made-in
    fi
    stamp="$extras $(cat pyproject.toml constraints.txt | cksum)"
    if [ "$(cat ".venv/installed-$extras" 2>/dev/null)" != "$stamp" ]; then
        echo "installing into .venv (a few hundred MB on the first run) ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$extras]" || return 2
        echo "$stamp" >".venv/installed-$extras"
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}
