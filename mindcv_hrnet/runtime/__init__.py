"""The machine: ranks, devices, kernels, files, downloads, progress. Knows nothing of HRNet; imports `errors` alone."""
