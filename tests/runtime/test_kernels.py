"""Convolutions on the CPU run on fast kernels, with nothing set by the user."""

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections import Counter

import pytest
from conv_steps import BATCH, IMAGE_SIZE, SPEC
from repository import ROOT

from mindcv_hrnet.models import variants
from mindcv_hrnet.runtime.kernels import FAST_ISA, ISA_VARIABLES, choose_kernels, has_avx512

LIMIT, OLDER_NAME = ISA_VARIABLES
# As oneDNN printed them on a processor with AVX-512 and no limit
REFERENCE_LINE = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit_uni_ncsp:conv+ref:any,forward_training,src:f32::blocked:abcd"
    "::f0 wei:f32::blocked:abcd::f0 bia:undef::undef::: dst:f32::blocked:abcd::f0,,alg:convolution_direct,"
    "mb2_ic16oc16_ih16oh16kh3sh1dh0ph1_iw16ow16kw3sw1dw0pw1,3.63281"
)
FAST_LINE = REFERENCE_LINE.replace("jit_uni_ncsp:conv+ref:any", "x64:gemm:jit").replace("_training", "_inference")


def convolutions(printed):
    """(implementation, direction, shape) of each convolution in what ONEDNN_VERBOSE=1 prints."""
    for line in printed.splitlines():
        fields = line.split(",")
        if fields[0] == "onednn_verbose" and fields[3:6] == ["exec", "cpu", "convolution"]:
            yield fields[6], fields[7], fields[-2]


def slow(found):
    """Those that ran on a reference kernel, be it as part of another one."""
    return [one for one in found if any(part.startswith("ref") for part in one[0].replace("+", ":").split(":"))]


def test_the_reader_sees_a_reference_kernel():
    found = list(convolutions(f"onednn_verbose,v1,info,cpu,runtime:threadpool,nthr:2\n{REFERENCE_LINE}\n{FAST_LINE}\n"))
    shape = "mb2_ic16oc16_ih16oh16kh3sh1dh0ph1_iw16ow16kw3sw1dw0pw1"
    assert found == [
        ("jit_uni_ncsp:conv+ref:any", "forward_training", shape),
        ("x64:gemm:jit", "forward_inference", shape),
    ]
    assert slow(found) == found[:1]


def kind(shape):
    """(input channels, output channels, kernel, output size), as `variants.convolutions` has them, out of oneDNN's."""
    sizes = {name: int(size) for name, size in re.findall(r"([a-z]+)(\d+)", shape)}
    assert sizes["mb"] == BATCH
    return sizes["ic"], sizes["oc"], sizes["kh"], sizes["oh"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("GRAPH_MODE",), ("PYNATIVE_MODE", "first-mindspore")], ids=["graph", "pynative-first-mindspore"]
)
def test_no_convolution_runs_on_a_reference_kernel(arguments):
    environment = {name: value for name, value in os.environ.items() if name not in ISA_VARIABLES}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/helpers/conv_steps.py"), *arguments],
        env={**environment, "ONEDNN_VERBOSE": "1", "GLOG_v": "3", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = list(convolutions(done.stdout))
    first, *others = [(*sizes, IMAGE_SIZE >> halvings) for *sizes, halvings in variants.convolutions(SPEC)]
    once = Counter([first, *others])
    ran = {direction: Counter(kind(shape) for _, of, shape in found if of == direction) for _, direction, _ in found}
    assert ran == {
        "forward_training": once + once,  # MindSpore asks for it in evaluation, too
        "backward_weights": once,
        "backward_data": Counter(others),  # nobody wants the gradient of the images
    }
    assert slow(found) == []
    if not has_avx512():
        pytest.skip("no convolution ran on a reference kernel, but without AVX-512 none does with any setting")


@pytest.fixture
def with_avx512(monkeypatch):
    monkeypatch.setattr("mindcv_hrnet.runtime.kernels.has_avx512", lambda: True)


def test_the_limit_reaches_the_c_library(with_avx512, monkeypatch):
    for variable in ISA_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    choose_kernels(os.environ)
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    assert getenv(LIMIT.encode()) == FAST_ISA.encode() == b"AVX2"


@pytest.mark.parametrize("environ", [{LIMIT: "AVX512_CORE"}, {LIMIT: ""}, {OLDER_NAME: "SSE41"}, {LIMIT: "nonsense"}])
def test_what_the_user_set_stays(with_avx512, environ):
    before = dict(environ)
    choose_kernels(environ)
    assert environ == before


@pytest.mark.parametrize(
    ("machine", "flags", "limited"),
    [
        ("x86_64", "flags\t\t: fpu avx2 avx512f avx512vl", True),
        ("AMD64", "flags\t\t: fpu avx2 avx512f avx512vl", True),
        ("x86_64", "flags\t\t: fpu avx2 avx_vnni\nbugs\t\t: avx512f", False),
        ("aarch64", "flags\t\t: avx512f", False),
        ("x86_64", None, False),
    ],
)
def test_only_where_there_is_avx512(machine, flags, limited, tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"processor\t: 0\n{flags}\n")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert has_avx512(cpuinfo) is limited
    monkeypatch.setattr("mindcv_hrnet.runtime.kernels.has_avx512", lambda: limited)
    environ = {}
    choose_kernels(environ)
    assert environ == ({LIMIT: "AVX2"} if limited else {})
