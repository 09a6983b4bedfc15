"""Measure a checkpoint: python validate.py -c RECIPE --data_dir DIR --ckpt_path FILE"""

import sys

from mindcv_hrnet.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("validate"))
