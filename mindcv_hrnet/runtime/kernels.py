"""Which CPU kernels MindSpore's convolutions run on.

MindSpore 2.10 hands oneDNN its weights as they are stored. For those, oneDNN 3.10 has no fast 3x3 convolution among its
AVX-512 kernels and takes a reference loop, forward and backward: a training step of hrnet_w32 takes 40 times as long.
Told to stop at AVX2 it multiplies matrices instead. Nothing here concerns other devices.
"""

import platform
from collections.abc import MutableMapping
from pathlib import Path

ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Either limits oneDNN; the second is its older name."""

FAST_ISA = "AVX2"


def choose_kernels(environ: MutableMapping[str, str]) -> None:
    """Limit oneDNN to AVX2 where AVX-512 would be slower; what the user has set stays.

    oneDNN reads the variable when the process runs its first kernel, also after MindSpore was imported: `os.environ`
    passes what is written to it on to the C library. This package does it when it is imported.
    """
    if not any(variable in environ for variable in ISA_VARIABLES) and has_avx512():
        environ[ISA_VARIABLES[0]] = FAST_ISA


def has_avx512(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this is an x86-64 processor with AVX-512; False where Linux does not tell."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            return any(line.startswith("flags") and "avx512f" in line.split() for line in lines)
    except OSError:
        return False
