"""The table of docs/performance.md about several devices is arithmetic on the recipe, here done anew."""

import re

import pytest
from repository import ROOT

from mindcv_hrnet.jobs.probes.estimate import GIB, PUBLISHED_BATCH, PUBLISHED_MS, demand_of
from mindcv_hrnet.models.variants import convolutions, describe, find_spec
from mindcv_hrnet.recipe.config import parse_config

MODEL = "hrnet_w32"
HCCL_BUFFER = 200e6
PERFORMANCE, ASCEND = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("performance.md", "ascend.md"))
ROWS = {
    int(cells[0]): cells
    for line in re.findall(r"^\| \d.*$", PERFORMANCE.partition("## Scaling")[2], re.MULTILINE)
    for cells in [[cell.strip() for cell in line.strip("|").split("|")]]
}
GRADIENTS = 4 * describe(MODEL).parameters


@pytest.fixture(scope="module")
def demand():
    return demand_of(parse_config(["-c", str(ROOT / f"configs/hrnet/{MODEL}_ascend.yaml")]))


def outputs(side):
    """Numbers that the convolutions put out for an image, at sides that 32 divides."""
    return sum(channels * (side >> halvings) ** 2 for _, channels, _, halvings in convolutions(find_spec(MODEL)))


def numbers(text):
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,.]*", text)]


@pytest.mark.parametrize("devices", [1, 8, 64])
def test_what_is_reduced_and_read(devices, demand):
    through = 2 * (devices - 1) / devices * GRADIENTS
    rate = demand.images_per_second
    expected = [devices, GRADIENTS / 1e6 * (devices > 1), through / 1e6, through / PUBLISHED_MS / 1e6]
    expected += [devices * rate, min(devices, 8) * rate]
    shown = [numbers(cell)[0] for cell in ROWS[devices][:6]]
    assert shown == pytest.approx(expected, rel=5e-3)
    assert rate == pytest.approx(PUBLISHED_BATCH / PUBLISHED_MS * 1000)


def test_memory_is_the_doctors_and_its_range_that_of_a_cpu(demand):
    page = PERFORMANCE.replace("\n", " ")
    peaks = re.search(r"takes ([\d,]+) MB at its peak with (\d+) images and ([\d,]+) with (\d+), so (\d+) MB an", page)
    less, few, more, many, shown = (numbers(text)[0] for text in peaks.groups())
    image = (more - less) / (many - few)
    held = image * 1e6 / 4 / outputs(160)
    assert shown == round(image) and f": {held:.1f} numbers for each" in page
    low, high = 4 + 2 * (held - 1), 6 + 2 * (held - 1)
    assert f"these are {low:.1f} B, or {high:.1f} where" in page
    for devices, row in ROWS.items():
        rest = demand.state_gib + (devices > 1) * (GRADIENTS + HCCL_BUFFER) / GIB
        range_ = [rest + each * outputs(224) * PUBLISHED_BATCH / GIB for each in (low, high)]
        assert numbers(row[6]) == pytest.approx([rest + demand.activations_gib, *range_], abs=0.051)


def test_the_page_of_ascend_says_the_same(demand):
    sums = [f"= {value:4.1f} GiB" for value in (demand.state_gib, demand.activations_gib)]
    assert all(each in ASCEND for each in sums) and f"{outputs(224) / 1e6:.1f} M x 128 x 8 B" in ASCEND
    together, *range_ = numbers(ROWS[1][6])
    assert f"Together {together} GiB" in ASCEND and f"makes it {range_[0]} to {range_[1]} (" in ASCEND
    assert together == pytest.approx(demand.gib, abs=0.05)
