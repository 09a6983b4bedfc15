#!/usr/bin/env bash
# Under Slurm, one msrun on each machine of the job:
#   sbatch --nodes=2 scripts/launch/slurm.sh train.py -c RECIPE --data_dir DIR ...
#
# Slurm asks for whole machines here; DEVICES (8) is how many devices each has. SET_ENV names CANN's set_env.sh.
#SBATCH --job-name=mindcv-hrnet
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --output=%x-%j.log
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: sbatch --nodes=N scripts/launch/slurm.sh train.py -c RECIPE ..." >&2; exit 2; }
[ -n "${SLURM_JOB_ID:-}" ] || { echo "error: no Slurm job; start this with sbatch" >&2; exit 2; }
# sbatch runs a copy of this file that lies elsewhere
cd "${SLURM_SUBMIT_DIR:-.}"
if [ -f .venv/bin/activate ]; then . .venv/bin/activate; fi
set_env=${SET_ENV:-/usr/local/Ascend/ascend-toolkit/set_env.sh}
if [ -f "$set_env" ]; then
    set +u && . "$set_env" && set -u
fi

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first=${hosts%%$'\n'*}
export DEVICES=${DEVICES:-8} LOG_DIR=${LOG_DIR:-logs/$SLURM_JOB_ID} PORT=${PORT:-$((20000 + SLURM_JOB_ID % 10000))}
# each task is told by SLURM_NODEID which machine it is
exec srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c '
    exec bash scripts/launch/msrun_hosts.sh "$SLURM_NNODES" "$SLURM_NODEID" "$0" "$@"' "$first" "$@"
