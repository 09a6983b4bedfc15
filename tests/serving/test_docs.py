"""What docs/serving.md shows is what happens."""

import re
import shutil
import subprocess
import sys
from dataclasses import fields

import pytest
from repository import ROOT

from mindcv_hrnet.serving.settings import Settings, option_name

PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path, picture):
    (tmp_path / "cat.jpg").write_bytes(picture("red", "JPEG"))
    (tmp_path / "dog.jpg").write_bytes(picture("blue", "JPEG"))
    return tmp_path


@pytest.fixture(scope="module")
def running(serve_module, tiny_onnx):
    return serve_module(tiny_onnx, name="hrnet")


def test_the_client_in_ten_lines(running, folder):
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 10
    code = code.replace("127.0.0.1:8080", running.address)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"\['[\d.]+:0:red', '[\d.]+:\d:\w+', '[\d.]+:\d:\w+'\]", first)
    assert re.match(r"\['[\d.]+:2:blue', ", second)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_the_lines_with_curl(running, folder):
    (code,) = (block for block in blocks("bash") if "base64" in block)
    script = "set -e\n" + code.replace("127.0.0.1:8080", running.address).replace("curl ", "curl -sSf -w '\\n' ")
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classified, metadata, inferred = done.stdout.splitlines()
    assert '"label":"red"' in classified and '"datatype":"FP32"' in metadata and '"name":"probabilities"' in inferred


def test_every_option_named_is_one_and_numbers_are_the_defaults():
    defaults = {option_name(each.name): str(each.default).removesuffix(".0") for each in fields(Settings)[1:]}
    named = re.findall(r"`(--[a-z-]+)(?: (\d+))?`", PAGE)
    assert len(named) > 8
    for option, number in named:
        if not option.startswith("--export"):
            assert option in defaults and number in ("", defaults[option]), option
