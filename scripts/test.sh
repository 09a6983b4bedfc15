#!/usr/bin/env bash
# Sets up what the tests need and runs them all: format, lint, types, tests.
#   bash scripts/test.sh [pytest arguments], such as -m "not slow", --durations=20, or --cov for a report of what is run
set -euo pipefail
cd "$(dirname "$0")/.."
# what pytest makes of 290 files is kept, four seconds of each of its processes
unset PYTHONDONTWRITEBYTECODE
. scripts/environment.sh
prepare_environment "dev"

ruff format --check .
ruff check .
mypy
# Three processes, for the tests of ranks wait much. Each has whole files: fixtures are made once a file. The order is
# that of tests/conftest.py, not xdist's, which begins with the files of most tests and ends with the longest
python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "$@"
