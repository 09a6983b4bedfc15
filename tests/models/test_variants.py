"""The table of variants, its arithmetic, and the light import."""

import subprocess
import sys

import pytest

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models.variants import VARIANTS, describe, find_spec, list_models

# Trainable parameters and giga multiply-additions at 224, with 1000 classes.
SIZES = {
    "hrnet_w18_small": (13_183_624, 1.602),
    "hrnet_w18_small_v2": (15_593_624, 2.596),
    "hrnet_w18": (21_295_164, 4.284),
    "hrnet_w30": (37_708_380, 8.106),
    "hrnet_w32": (41_228_840, 8.921),
    "hrnet_w40": (57_553_320, 12.692),
    "hrnet_w44": (67_061_144, 14.883),
    "hrnet_w48": (77_466_024, 17.278),
    "hrnet_w64": (128_056_104, 28.895),
}


def test_names():
    assert list_models() == list(SIZES)
    assert list_models(pretrained=True) == ["hrnet_w32", "hrnet_w48"]


@pytest.mark.parametrize("name", SIZES)
def test_described_size(name):
    description = describe(name)
    parameters, gmacs = SIZES[name]
    assert description.parameters == parameters
    assert description.gmacs == pytest.approx(gmacs, abs=5e-4)


def test_described_statistics_and_accuracy():
    assert describe("hrnet_w32").parameters_with_statistics == 41_303_464
    assert describe("hrnet_w48").parameters_with_statistics == 77_567_400
    assert (describe("hrnet_w32").top1, describe("hrnet_w32").top5) == (80.64, 95.44)
    assert describe("hrnet_w18").top1 is None


def test_gmacs_grow_with_the_area():
    small, large = describe("hrnet_w32", 224).gmacs, describe("hrnet_w32", 448).gmacs
    # The classifier alone does not grow.
    assert large - 2048e-6 == pytest.approx(4 * (small - 2048e-6))


@pytest.mark.parametrize(("typo", "near"), [("hrnet_w23", "hrnet_w32"), ("HRNet_W48", "hrnet_w48"), ("", "hrnet_w")])
def test_unknown_name_names_the_nearest(typo, near):
    with pytest.raises(UserError, match=f"did you mean '{near}.*Choices: hrnet_w18_small, .*hrnet_w64") as error:
        find_spec(typo)
    assert "\n" not in str(error.value)


def test_image_size_must_be_positive():
    with pytest.raises(UserError, match="image_size"):
        describe("hrnet_w32", 0)


def test_importing_the_package_does_not_import_mindspore():
    code = (
        "import sys, mindcv_hrnet, mindcv_hrnet.models\n"
        "assert mindcv_hrnet.__version__ == '0.2.0'\n"
        "assert mindcv_hrnet.describe('hrnet_w18').gmacs > 4 and len(mindcv_hrnet.list_models()) == 9\n"
        "assert 'mindspore' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_row_has_four_branches():
    for spec in VARIANTS.values():
        assert [w // spec.width for w in spec.branch_widths] == [1, 2, 4, 8]
