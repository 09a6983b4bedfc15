#!/usr/bin/env bash
# Sets up what the tests need and runs them all: format, lint, types, tests.
#   bash scripts/test.sh [pytest arguments], such as -m "not slow", --durations=20, or --cov for a report of what is run
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
prepare_environment "dev"

ruff format --check .
ruff check .
mypy
python -m pytest "$@"
