#!/usr/bin/env bash
# Ascend without MPI and without msrun: one process per device, told by a rank table who the others are.
#   bash scripts/launch/rank_table.sh rank_table.json train.py -c RECIPE --data_dir DIR ...
#
# hccn_tool's addresses make the table (MindSpore's tutorial "rank table startup" shows one). MindSpore compiles with jit
# level O2 in this mode. On several machines start this on each, with SERVER set to its server_id in the table; by default
# the first. LOG_DIR (logs) takes each rank's output. The first rank that fails ends those of this machine.
set -euo pipefail
dry=""
if [ "${1:-}" = --dry-run ]; then dry=echo && shift; fi
[ $# -ge 2 ] || { sed -n '2,8p' "$0" >&2; exit 2; }
table=$(realpath "$1") && shift
logs=${LOG_DIR:-logs} && mkdir -p "$logs"

# "RANK DEVICE" of this machine's devices, and how many ranks there are
read_table() {
    python - "$table" "${SERVER:-}" <<'PYTHON'
import json, sys
path, server = sys.argv[1:]
try:
    servers = json.load(open(path))["server_list"]
    here = next((s for s in servers if not server or s["server_id"] == server), None)
    if here is None:
        raise SystemExit(f"error: {path} has no server_id {server}: {', '.join(s['server_id'] for s in servers)}")
    print(sum(len(s["device"]) for s in servers))
    for device in here["device"]:
        print(device["rank_id"], device["device_id"])
except (OSError, ValueError, KeyError) as error:
    raise SystemExit(f"error: {path}: not a rank table ({error!r})")
PYTHON
}
rows=$(read_table) || exit 2
size=${rows%%$'\n'*}
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
while read -r rank device; do
    if [ -n "$dry" ]; then
        echo "RANK_TABLE_FILE=$table RANK_ID=$rank RANK_SIZE=$size DEVICE_ID=$device python $*"
        continue
    fi
    RANK_TABLE_FILE=$table RANK_ID=$rank RANK_SIZE=$size DEVICE_ID=$device python "$@" >"$logs/rank_$rank.log" 2>&1 &
    pids+=($!)
done <<<"${rows#*$'\n'}"
code=0
for _ in "${pids[@]}"; do
    wait -n || { code=$? && break; }
done
[ "$code" = 0 ] || tail -n 5 "$logs"/rank_*.log >&2
exit "$code"
