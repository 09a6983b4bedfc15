"""A pickle without its powers: plain values and containers are built, nothing is imported and nothing is called.

Python's own unpickler calls whatever a file names. Here the opcodes are interpreted one by one; a name that is not in
the caller's table ends the reading, and the table's entries are the only things that a pickle can be made of.
"""

from __future__ import annotations

import os
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

Constructor = Callable[[tuple[Any, ...]], Any]
"""Takes the arguments that a pickle gives, and returns an inert value."""

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
WITH_VALUE = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
UNPICKLED_BY = "reading it would run code of the file's choice, so it was refused and nothing was run"


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(hashable, items[::2]), items[1::2], strict=True))


def hashable(key: Any) -> Any:
    """`key` as it is, if it is flat: Python hashes what is nested without a limit, until the process crashes."""
    parts = key if isinstance(key, tuple) else (key,)
    if not all(part is None or isinstance(part, (str, bytes, int, float)) for part in parts):
        raise ValueError("a key in its pickle is no plain value")
    return key


FROM_ITEMS: dict[str, Callable[[list[Any]], Any]] = {"TUPLE": tuple, "LIST": list, "DICT": _pairs}


MOST_INSTRUCTIONS = 500_000
"""HRNets with their optimizer need a fifth of it; each instruction may make a container of 200 bytes."""
MOST_ARGUMENTS = 500_000
"""Elements handed over in all calls together: a call may copy them, and a file may call again and again."""
LONGEST_VALUE = 1 << 26
LONGEST_LINE = 1 << 20


class PickleRefused(ValueError):
    """The pickle asks for more than values and containers, or they are not weights."""


class _Mark:
    pass


_MARK = _Mark()


class _Bounded:
    """A stream that reads no more than there is: a length in a file is only a claim."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        here = self.tell = stream.tell
        start = here()
        self._end = stream.seek(0, os.SEEK_END)
        stream.seek(start)

    def read(self, count: int) -> bytes:
        if not 0 <= count <= min(LONGEST_VALUE, self._end - self._stream.tell()):
            raise ValueError("it ends too early")
        return self._stream.read(count)

    def readline(self) -> bytes:
        return self._stream.readline(LONGEST_LINE)


class _Global:
    """A name that the table knows; calling it means calling the table's entry."""

    def __init__(self, name: str, construct: Constructor):
        self.name = name
        self.construct = construct


def read_pickle(
    stream: BinaryIO, constructors: Mapping[str, Constructor], persistent: Callable[[Any], Any] | None = None
) -> Any:
    """The value of the pickle at the stream's position, which is left behind its end.

    `constructors` maps "module name" to what makes its values; `persistent` resolves persistent ids.
    Raises PickleRefused for any other name or opcode, ValueError for a damaged stream.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    handed_over = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(_Bounded(stream))):  # type: ignore[arg-type]
        if count == MOST_INSTRUCTIONS:
            raise ValueError(f"its pickle has more than {MOST_INSTRUCTIONS} instructions")
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in WITH_VALUE:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("TUPLE", "LIST", "DICT"):
            items = _pop_to_mark(stack)
            stack.append(FROM_ITEMS[name](items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS"):
            _extend(stack, name)
        elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument)])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                names = _pop(stack, 2)
                if not all(isinstance(part, str) for part in names):
                    raise ValueError("a name in its pickle is no text")
                argument = " ".join(names)
            if argument not in constructors:
                raise PickleRefused(
                    f"asks for {argument.replace(' ', '.')}, which is neither tensor nor container; {UNPICKLED_BY}; "
                    "if the file is yours, save its state_dict() alone"
                )
            stack.append(_Global(argument, constructors[argument]))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = _pop(stack, 2)
            if not isinstance(function, _Global) or not isinstance(arguments, tuple):
                raise PickleRefused(f"calls something that is neither tensor nor container; {UNPICKLED_BY}")
            handed_over += sum(len(part) for part in arguments if isinstance(part, (list, tuple, set, dict)))
            if handed_over > MOST_ARGUMENTS:
                raise ValueError(f"the calls in its pickle take more than {MOST_ARGUMENTS} elements")
            stack.append(function.construct(arguments))
        elif name == "BUILD":
            stack.pop()
            # What would be set on a container, such as PyTorch's _metadata, has no part in its values
            if not isinstance(stack[-1], dict):
                raise PickleRefused(f"sets the state of something that is no container; {UNPICKLED_BY}")
        elif name == "BINPERSID" and persistent:
            stack.append(persistent(stack.pop()))
        elif name == "POP":
            stack.pop()
        else:
            raise PickleRefused(f"uses the pickle instruction {name}; {UNPICKLED_BY}")
    raise ValueError("pickle without an end")


def _pop(stack: list[Any], count: int) -> list[Any]:
    items = stack[-count:]
    if len(items) < count:
        raise ValueError("pickle takes more than it has")
    del stack[-count:]
    return items


def _pop_to_mark(stack: list[Any]) -> list[Any]:
    position = len(stack) - 1 - stack[::-1].index(_MARK)
    items = stack[position + 1 :]
    del stack[position:]
    return items


def _extend(stack: list[Any], name: str) -> None:
    """Put the top of the stack into the container below it."""
    count = {"APPEND": 1, "SETITEM": 2}.get(name)
    items = _pop(stack, count) if count else _pop_to_mark(stack)
    container = stack[-1]
    if name.startswith("SETITEM") and isinstance(container, dict):
        container.update(_pairs(items))
    elif name.startswith("APPEND") and isinstance(container, list):
        container.extend(items)
    elif name == "ADDITEMS" and isinstance(container, set):
        container.update(map(hashable, items))
    else:
        raise PickleRefused(f"fills something that is no container; {UNPICKLED_BY}")
