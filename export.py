"""Write a deployment file: python export.py -c RECIPE --ckpt_path FILE --file_format MINDIR --file_name NAME"""

import sys

from mindcv_hrnet.cli import run_job

if __name__ == "__main__":
    sys.exit(run_job("export"))
