"""The machine that a job runs on: its kernels, its caches."""
