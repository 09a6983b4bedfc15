"""Reads the intermediate representation of a compiled graph, as MindSpore writes it after its last check (`validate`).

Each node takes some lines of such a file:

    %3(CNode_7) = PrimFunc_Sub(%2, %0) primitive_attrs: {...} cnode_attrs: {...}
        : (<Tensor[Float32], (8, 10)>, <Tensor[Float32], (8, 10)>) -> (<Tensor[Float32], (8, 10)>)
        : (S:[8, 10], S:[8, 10]) -> (S:[8, 10])
        # Fullname with scope: (Default/preprocess-Preprocess/Sub-op1)
        # In file .../engine/preprocess.py:79, 33~76/ ... /
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_NODE = re.compile(r"^  %\d+\((?P<name>[^)]*)\) = (?P<call>[^\n]*)$")
_CALL = re.compile(r"^(?:PrimFunc_|DoSignaturePrimitive::S-Prim-|S-Prim-)?(?P<operator>[A-Za-z_]\w*)\(")
_GRAPH = re.compile(r"^subgraph @(?P<name>[^(]+)\(")
_TENSOR = re.compile(r"Tensor\[(\w+)\]")
_SOURCE = re.compile(r"# In file (\S+):(\d+)")

# Control flow and bookkeeping of the graph itself: no kernel runs
STRUCTURE = frozenset(
    (
        *("Switch", "Partial", "Return", "call", "Depend", "Load", "UpdateState", "MakeTuple", "TupleGetItem"),
        *("RealMakeTuple", "RealTupleGetItem", "StopGradient"),
    )
)


@dataclass(frozen=True)
class Node:
    """One operation: `inputs` and `outputs` are the types as written, `source` the package's lines that made it."""

    operator: str
    call: str
    inputs: str
    outputs: str
    graph: str
    source: tuple[str, ...]

    @property
    def dtypes(self) -> frozenset[str]:
        """Element types of the tensors that come in and go out."""
        return frozenset(_TENSOR.findall(f"{self.inputs} {self.outputs}"))

    @property
    def is_static(self) -> bool:
        """Whether every shape is known: -1 is an unknown side, -2 an unknown number of sides."""
        return not re.search(r"[(, ]-[12]\b", f"{self.inputs} {self.outputs}".replace("NoShape", ""))


@dataclass(frozen=True)
class Graph:
    """All nodes of a compiled cell, those of its branches included."""

    text: str

    @classmethod
    def read(cls, path: Path) -> "Graph":
        return cls(path.read_text(encoding="utf-8"))

    @cached_property
    def nodes(self) -> list[Node]:
        found, graph = [], ""
        lines = self.text.splitlines()
        for place, line in enumerate(lines):
            if header := _GRAPH.match(line):
                graph = header["name"]
            elif node := _NODE.match(line):
                found.append(_node(node["call"], lines[place + 1 : place + 40], graph))
        return found

    @cached_property
    def kernels(self) -> list[Node]:
        """Nodes that compute something."""
        return [node for node in self.nodes if node.operator not in STRUCTURE]

    def count(self, *operators: str) -> dict[str, int]:
        """How often each of the operators occurs."""
        counted = Counter(node.operator for node in self.nodes)
        return {operator: counted[operator] for operator in operators}

    def pairs(self) -> set[tuple[str, str]]:
        """Every (operator, element type) of the kernels."""
        return {(node.operator, dtype) for node in self.kernels for dtype in node.dtypes}


def _node(call: str, following: list[str], graph: str) -> Node:
    types, source = "", []
    for line in following:
        if _NODE.match(line) or line.startswith("}"):
            break
        text = line.strip()
        if text.startswith(": (") and not types:
            types = text
        elif place := _SOURCE.match(text):
            source.append(f"{Path(place[1]).name}:{place[2]}")
    inputs, _, outputs = types.removeprefix(": ").rpartition(" -> ")
    operator = _CALL.match(call)
    return Node(operator["operator"] if operator else "call", call, inputs, outputs, graph, tuple(source))
