"""python -m mindcv_hrnet train|validate|export|predict|convert"""

import sys

from mindcv_hrnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
