"""Python, packages, and the kernels that MindSpore will run on."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata

from packaging.requirements import Requirement

from mindcv_hrnet.jobs.probes.finding import GREEN, RED, YELLOW, Finding
from mindcv_hrnet.runtime.kernels import FAST_ISA, ISA_VARIABLES, has_avx512

PYTHONS = ((3, 10), (3, 12))
DISTRIBUTION = "mindcv-hrnet"
# Limits under which oneDNN chooses the same kernels
FAST_ISAS = ("SSE41", "AVX", FAST_ISA, "AVX2_VNNI", "AVX2_VNNI_2")


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Whether MindSpore has a wheel for this Python."""
    text = f"{'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if PYTHONS[0] <= version[:2] <= PYTHONS[1]:
        return Finding(GREEN, "python", text)
    return Finding(RED, "python", text, "MindSpore 2.10 has wheels for Python 3.10, 3.11 and 3.12: use one of them")


def packages(requirements: list[str] | None = None) -> list[Finding]:
    """The packages that this one requires, with their versions."""
    if requirements is None:
        try:
            requirements = metadata.requires(DISTRIBUTION) or []
        except metadata.PackageNotFoundError:
            mend = "pip install -c constraints.txt . in the checkout"
            return [Finding(YELLOW, "packages", f"{DISTRIBUTION} is not installed: nothing says what it needs", mend)]
    found, wrong = [], []
    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement} is missing")
            continue
        found.append(f"{requirement.name} {version}")
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return [Finding(RED, "packages", "; ".join(wrong), "pip install -c constraints.txt .")]
    return [Finding(GREEN, "packages", ", ".join(found))]


def kernels(environ: Mapping[str, str] = os.environ, avx512: bool | None = None) -> Finding:
    """Whether convolutions on this CPU run on fast kernels."""
    chosen = next((environ[name] for name in ISA_VARIABLES if name in environ), "")
    if not (has_avx512() if avx512 is None else avx512):
        return Finding(GREEN, "kernels", "no AVX-512 here, oneDNN's own choice is fast")
    if chosen in FAST_ISAS:
        return Finding(GREEN, "kernels", f"AVX-512 here, oneDNN is held to {chosen}, where its convolutions are fast")
    return Finding(
        YELLOW,
        "kernels",
        f"AVX-512 here and {ISA_VARIABLES[0]} is {chosen or 'not set'}: 3x3 convolutions may take 40 times as long",
        f"unset {' and '.join(ISA_VARIABLES)}, or set {ISA_VARIABLES[0]}={FAST_ISA}",
    )
