"""sketch_job.py train|validate|export [arguments]: the job of that name, on a network that compiles in a second."""

import sys

from observables import sketched

from mindcv_hrnet.cli import run_job

if __name__ == "__main__":
    with sketched():
        sys.exit(run_job(sys.argv[1], sys.argv[2:]))
