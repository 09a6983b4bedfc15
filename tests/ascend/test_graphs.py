"""What the compiled graphs of the ImageNet recipes tell about Ascend, without an Ascend.

The front end of MindSpore's compiler is the same for every device; what it hands to the device's back end is read here.
Of back ends that refuse it, of kernels that overflow, and of time it tells nothing: docs/ascend.md lists those.
"""

import csv
import subprocess
import sys

import pytest
from compile_graphs import GRAPHS, RANKS
from ir import Graph
from repository import ROOT

pytestmark = pytest.mark.slow
TRAINING = [name for name in GRAPHS if name not in ("evaluation", "statistics")]

with (ROOT / "tests/ascend/cann_operators.tsv").open(encoding="utf-8") as lines:
    CANN = {row["operator"]: row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}

# What docs/ascend.md lists as open on the 910A; each set is exactly what the graphs hold, so a new one wants a look.
# Comparisons and divisions by a Python number: A2 has their kernels (aclnnEqScalar and others); the table from which
# GE, the back end of the 910A, translates has none of the family, as far as the wheel shows it
BY_A_NUMBER = {"EqScalar", "LessScalar", "GreaterEqualScalar", "NeScalar", "Divs"}
OPEN_BY_A_NUMBER = {"EqScalar", "LessScalar", "Divs"}
# CANN's pages leave the 910A out
OPEN_ON_910A = {"Exp", "Gather", "IsNan", "ReduceMean", "ResizeNearestNeighborGrad", "RsqrtGrad"}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """name: Graph, all compiled by one process."""
    folder = tmp_path_factory.mktemp("ir")
    command = [sys.executable, str(ROOT / "tests/helpers/compile_graphs.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for name in GRAPHS:
        (file,) = (folder / name).rglob("*_validate_*.ir")
        found[name] = Graph.read(file)
    return found


@pytest.fixture(params=list(GRAPHS))
def graph(request, graphs):
    return graphs[request.param]


def shown(nodes):
    return [f"{node.operator}, {node.source[-1:]}: {node.call[:120]}" for node in nodes]


def test_the_reader_sees_the_whole_graph(graphs):
    """Its numbers are those of the network: a reader that skips lines would let everything pass."""
    convolutions = graphs["recipe"].count("Conv2D", "BatchNorm", "Conv2DBackpropFilter", "Conv2DBackpropInput")
    # the image needs no gradient
    assert list(convolutions.values()) == [73, 73, 73, 72]
    assert graphs["recipe"].count("PyExecute", "NoSuchOperator") == {"PyExecute": 0, "NoSuchOperator": 0}
    assert len(graphs["evaluation"].nodes) > 100 and graphs["evaluation"].count(
        "Conv2DBackpropFilter", "AllReduce"
    ) == {
        "Conv2DBackpropFilter": 0,
        "AllReduce": 0,
    }


def test_no_node_of_the_host(graph):
    """GE refuses a graph with Python or CPU nodes."""
    assert shown(n for n in graph.nodes if n.operator == "PyExecute" or '"CPU"' in n.call) == []


def test_every_shape_is_known(graph):
    assert shown(node for node in graph.nodes if not node.is_static) == []


def test_every_value_has_a_type_that_a_device_knows(graph):
    foreign = ("Any", "String", "Dictionary", "Problem", "Undetermined")
    assert shown(n for n in graph.nodes if any(word in n.inputs + n.outputs for word in foreign)) == []


def test_no_double_and_no_complex(graph):
    """Neither product computes in float64; a Python number that was not cast would bring it in."""
    assert {dtype for node in graph.nodes for dtype in node.dtypes} <= {
        "Bool",
        "Float16",
        "Float32",
        "Int32",
        "Int64",
        "UInt8",
    }


@pytest.mark.parametrize("product", ["910A", "A2"])
def test_cann_documents_every_operator_for_its_types(graphs, product):
    known = {(name, dtype) for name, row in CANN.items() for dtype in row[f"on {product}"].split()}
    used = {pair for graph in graphs.values() for pair in graph.pairs() if pair[0] not in BY_A_NUMBER}
    assert used - known == set()
    assert all(CANN[operator]["source"] for operator, _ in used)


def test_operators_that_the_910a_may_not_have(graphs):
    used = {operator for graph in graphs.values() for operator, _ in graph.pairs()}
    assert used & BY_A_NUMBER == OPEN_BY_A_NUMBER
    assert {name for name in used & set(CANN) if CANN[name]["page says 910A"] == "no"} == OPEN_ON_910A


COUNTED = ("Cast", "Mul", "Assign", "AllReduce", "AdamWeightDecay", "IsFinite")
COUNTS = {
    # with 221 tensors to train in four buckets: AllReduce of each, and of the flag. Training accuracy takes three
    # of the casts and a multiplication, the norm that clipping notes an assignment
    "recipe": (483, 20, 2, 5, 221, 4),
    "drop_path": (42, 64, 26, 2, 14, 1),
    "accumulation": (65, 141, 53, 13, 14, 15),
    "statistics": (0, 1, 8, 1, 0, 0),
    "evaluation": (231, 5, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", list(GRAPHS))
def test_launches_of_an_update(graphs, name):
    """Each is a kernel to launch; a change that adds hundreds is seen here before a device slows down."""
    assert graphs[name].count(*COUNTED) == dict(zip(COUNTED, COUNTS[name], strict=True))


@pytest.mark.parametrize("name", TRAINING)
def test_ranks_agree_on_what_they_decide(graphs, name):
    """The overflow flag is reduced: what decides about the update comes out of an AllReduce of one number."""
    flags = [n for n in graphs[name].nodes if n.operator == "AllReduce" and n.outputs == "(<Tensor[Float32], ()>)"]
    assert len(flags) >= 1 and RANKS > 1
