#!/usr/bin/env bash
# Several machines with msrun, which needs neither MPI nor ssh: start this on each of them, within ten minutes.
#   node1$ bash scripts/launch/msrun_hosts.sh 2 0 node1 train.py -c RECIPE --data_dir DIR ...
#   node2$ bash scripts/launch/msrun_hosts.sh 2 1 node1 train.py -c RECIPE --data_dir DIR ...
#
# The numbers are how many machines there are and which one this is; then the first machine's name or address.
# DEVICES (8) is how many devices each machine has, PORT (8118) what the first one listens on, LOG_DIR (logs) where each
# rank's output goes. --dry-run prints the command.
set -euo pipefail
dry=""
if [ "${1:-}" = --dry-run ]; then dry=echo && shift; fi
[ $# -ge 4 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
machines=$1 number=$2 first=$3 && shift 3
devices=${DEVICES:-8}
if [ "$number" -ge "$machines" ]; then
    echo "error: machine $number of $machines: machines count from 0" >&2
    exit 2
fi
exec $dry msrun --worker_num=$((machines * devices)) --local_worker_num="$devices" --node_rank="$number" \
    --master_addr="$first" --master_port="${PORT:-8118}" --cluster_time_out=600 --join=True \
    --log_dir="${LOG_DIR:-logs}" "$@"
