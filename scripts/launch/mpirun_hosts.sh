#!/usr/bin/env bash
# Several machines with mpirun:
#   bash scripts/launch/mpirun_hosts.sh HOSTFILE train.py -c RECIPE --data_dir DIR ...
#
# HOSTFILE has a line for each machine, with as many slots as it has devices:
#   node1 slots=8
#   node2 slots=8
# Each machine has this checkout at the same path, the same environment, and lets the first one in over ssh without a
# password. CANN's environment must be set in the shell that runs this (set_env.sh): it is passed on. --dry-run prints;
# MPIRUN_OPTIONS adds options of your mpirun, such as --allow-run-as-root.
set -euo pipefail
dry=""
if [ "${1:-}" = --dry-run ]; then dry=echo && shift; fi
[ $# -ge 2 ] || { sed -n '2,10p' "$0" >&2; exit 2; }
hosts=$1 && shift
[ -r "$hosts" ] || { echo "error: $hosts: no such file; it names the machines, one a line: HOST slots=8" >&2; exit 2; }

ranks=$(awk '!/^[[:space:]]*(#|$)/ { n = 1; for (i = 2; i <= NF; i++) if (sub(/^slots=/, "", $i)) n = $i; all += n } END { print all + 0 }' "$hosts")
# mpirun tells its ranks nothing of this shell but what is named here
passed=()
for name in PATH LD_LIBRARY_PATH PYTHONPATH ASCEND_HOME_PATH ASCEND_OPP_PATH ASCEND_AICPU_PATH ASCEND_TOOLKIT_HOME \
    HCCL_CONNECT_TIMEOUT HCCL_EXEC_TIMEOUT HCCL_IF_IP HCCL_SOCKET_IFNAME MINDCV_HRNET_CACHE CUDA_HOME; do
    if [ -n "${!name:-}" ]; then passed+=(-x "$name"); fi
done
# the file's slots count the devices, mpirun would count cores; and a rank has threads that want more than one core
exec $dry mpirun --hostfile "$hosts" -n "$ranks" --bind-to none "${passed[@]}" ${MPIRUN_OPTIONS:-} python "$@"
