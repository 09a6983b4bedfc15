#!/usr/bin/env bash
# From nothing to a trained, validated, exported network on real data, on a laptop's CPU:
#   bash scripts/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
prepare_environment "mpi,digits"

recipe=configs/hrnet/hrnet_w18_small_digits_cpu.yaml
data=runs/digits
run=runs/quickstart
exported=$run/hrnet_w18_small_digits.mindir
began=$(date +%s)

python scripts/prepare_digits.py --out "$data"
rm -rf "$run"

echo "== train"
python train.py -c "$recipe" --data_dir "$data" --ckpt_save_dir "$run"
echo "== validate"
python validate.py -c "$run/config.yaml" --ckpt_path "$run/hrnet_w18_small-best.ckpt" | tee "$run/validation.txt"
echo "== export"
python export.py -c "$run/config.yaml" --ckpt_path "$run/hrnet_w18_small-best.ckpt" --file_format MINDIR --file_name "$exported"
echo "== classify one validation image, from the exported file alone"
image=$(find "$data/val/3" -name '*.png' | sort | sed -n 1p)
mindcv-hrnet predict "$exported" --top 3 "$image"

top1=$(sed -n 's/^top-1 \([0-9.]*\) %.*/\1/p' "$run/validation.txt")
cat <<SUMMARY

top-1             $top1 % on the validation split, in $(($(date +%s) - began)) s
data set          $PWD/$data
recipe            $PWD/$run/config.yaml
metrics           $PWD/$run/metrics.csv
best checkpoint   $PWD/$run/hrnet_w18_small-best.ckpt
exported network  $PWD/$exported

To go on from here: source .venv/bin/activate
SUMMARY
awk -v top1="$top1" 'BEGIN { exit !(top1 >= 97) }' || {
    echo "error: top-1 $top1 % is below the expected 97 %" >&2
    exit 1
}
