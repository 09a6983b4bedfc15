"""The reader of compiled graphs sees what it is there to find."""

import pytest
from ir import Graph

SAMPLE = """\
# IR entry: @step_1
%para1_images: <Tensor[UInt8], (8, 3, 64, 64)> : [8, 3, 64, 64]

subgraph @step_1() {
  %0(CNode_4) = PrimFunc_Cast(%para1_images, F16) {instance name: cast} cnode_attrs: {checkpoint: Bool(1)}
      : (<Tensor[UInt8], (8, 3, 64, 64)>, <Int64, NoShape>) -> (<Tensor[Float16], (8, 3, 64, 64)>)
      : (S:[8, 3, 64, 64], <null>) -> (S:[8, 3, 64, 64])
      # Fullname with scope: (Default/Cast-op0)
      # In file /somewhere/engine/step.py:159~175, 4~19/    def construct(self, images):/
      # In file /somewhere/engine/preprocess.py:66, 18~75/        x = self.cast(images)/
  %1(CNode_5) = UpdateState(U, %0)
      : (<null>, <null>) -> (<null>)
  Return(%1)
}

subgraph @\u2717guarded_2(%para2_flag) {
  %0(CNode_6) = PyExecute("None", ("None"), ("None")) primitive_attrs: {primitive_target: "CPU"}
      : (<String, NoShape>, <Tuple[String], TupleShape(NoShape)>) -> (<Any(Tensor)[Float64], (-2)>)
  %1(CNode_7) = Add(%0, %para2_flag)
      : (<Tensor[Float32], (-1, 3)>, <Tensor[Float32], (8, 3)>) -> (<Tensor[Float32], (-1, 3)>)
  %2(CNode_8) = %1[@FuncUnion(@a, @b)](%0)
      : (<Tensor[Float32], (8)>) -> (<Tensor[Float32], (8)>)
}
"""


@pytest.fixture(scope="module")
def graph():
    return Graph(SAMPLE)


def test_nodes(graph):
    assert [node.operator for node in graph.nodes] == ["Cast", "UpdateState", "PyExecute", "Add", "call"]
    assert [node.operator for node in graph.kernels] == ["Cast", "PyExecute", "Add"]
    assert graph.count("Cast", "Mul") == {"Cast": 1, "Mul": 0}
    cast, *_, add, call = graph.nodes
    assert (cast.graph, add.graph) == ("step_1", "✗guarded_2")
    assert cast.source == ("step.py:159", "preprocess.py:66") and add.source == ()
    assert cast.dtypes == {"UInt8", "Float16"} and call.outputs == "(<Tensor[Float32], (8)>)"


def test_pairs(graph):
    assert {("Cast", "UInt8"), ("Cast", "Float16"), ("Add", "Float32")} <= graph.pairs()


def test_open_shapes_and_values_of_the_host(graph):
    assert [node.operator for node in graph.nodes if not node.is_static] == ["PyExecute", "Add"]
    assert [node.operator for node in graph.nodes if '"CPU"' in node.call] == ["PyExecute"]
    assert "Any" in graph.nodes[2].outputs and "String" in graph.nodes[2].inputs
