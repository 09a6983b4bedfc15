"""Train an HRNet recipe: python train.py -c configs/hrnet/hrnet_w32_ascend.yaml --data_dir DIR"""

import sys

from mindcv_hrnet.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("train"))
