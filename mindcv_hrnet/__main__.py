"""python -m mindcv_hrnet COMMAND ...; without one it lists them"""

import sys

from mindcv_hrnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
