"""A recipe's YAML, read with limits: whatever the file holds, its values or one line come soon and without much memory.

The stream of events is looked over before anything is built of it: a recipe is a flat list of keys, so little depth, no
tags, and references to single values alone are all that it can need.
"""

from pathlib import Path
from typing import Any

import yaml

from mindcv_hrnet.errors import ConfigError

LARGEST_FILE = 1 << 18  # bytes; the largest recipe that is shipped has 4,000
DEEPEST = 4
MOST_PARTS = 10_000
LONGEST_VALUE = 10_000  # characters
MOST_BITS = 1000  # of a whole number, which then is a float as well


class _RecipeLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice instead of keeping the last, and knows no dates."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith("timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no single value", key_node.start_mark)
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def number(self, node: Any) -> int | float:
        """What looks like a number by YAML's rules, and may be none, such as 0x_, or one of thousands of digits."""
        is_int = node.tag.endswith("int")
        try:
            value = self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)
            if isinstance(value, int) and value.bit_length() > MOST_BITS:
                raise OverflowError
        except (ValueError, OverflowError):
            shown = node.value if len(node.value) < 40 else f"{node.value[:20]}..."
            raise yaml.constructor.ConstructorError(None, None, f"{shown} is no number", node.start_mark) from None
        return value


for _kind in ("int", "float"):
    _RecipeLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _RecipeLoader.number)


def read_yaml(path: str) -> dict[str, Any]:
    """The flat mapping in a recipe file, or a one-line ConfigError."""
    if not _is_file(path):
        raise ConfigError(f"{path}: recipe not found; -c takes a YAML file, or a name of: mindcv-hrnet recipes")
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ConfigError(f"{path}: has more than {LARGEST_FILE} bytes; a recipe is a list of 'key: value' lines")
        text = data.decode("utf-8")
        _look_over(text, path)
        content = yaml.load(text, Loader=_RecipeLoader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}; a recipe is a flat list of 'key: value' lines")
    for key, value in content.items():
        if isinstance(value, dict):
            raise ConfigError(f"{path}: '{key}' holds a mapping; a recipe is flat, move its keys to the top level")
    return content


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # a name too long for any file
        return False


def _look_over(text: str, path: str) -> None:
    """Raise ConfigError where the text has what no recipe needs; YAMLError where it is not YAML."""
    depth = line = 0
    anchored: set[str] = set()
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        problem = _problem(event, depth, anchored) if count < MOST_PARTS else f"has more than {MOST_PARTS} parts"
        line = event.start_mark.line if event.start_mark else line
        if problem:
            raise ConfigError(f"{path}, line {line + 1}: {problem}; a recipe is a flat list of 'key: value' lines")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)


def _problem(event: Any, depth: int, anchored: set[str]) -> str:
    """What is wrong with an event below `depth` collections; empty where nothing is. Notes the anchors of values."""
    if getattr(event, "tag", None):
        return f"the tag {event.tag} has no place here, write the value alone"
    if isinstance(event, yaml.CollectionStartEvent):
        if event.anchor:
            return f"&{event.anchor} names more than a single value"
        return "lists in lists in lists" if depth >= DEEPEST else ""
    if isinstance(event, yaml.AliasEvent):
        return "" if event.anchor in anchored else f"*{event.anchor} names no single value above it"
    if isinstance(event, yaml.ScalarEvent):
        if len(event.value) > LONGEST_VALUE:
            return f"a value has more than {LONGEST_VALUE} characters"
        if event.anchor:
            anchored.add(event.anchor)
    return ""


def quoted(text: str) -> str:
    """The text as YAML on one line, which reads back to the same characters."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    number = ord(character)
    # JSON's way to write what lies beyond 16 bits, in two halves, YAML reads as two characters
    return f"\\U{number:08x}" if number > 0xFFFF else f"\\u{number:04x}"
