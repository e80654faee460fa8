"""
YAML from strangers with the line of every value: bounded in size, aliases counted, nothing constructed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vllm_sizing.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import yaml

# The largest deployment files in public repositories have some 100 kB.
MAX_YAML_CHARACTERS = 500_000
# Of which aliases may unfold to as many values as people could have written out.
_MOST_NODES = 100_000
_DEEPEST = 64


class Node(NamedTuple):
    """
    One value and where it stands.

    Attributes:
        value: A dict of names to nodes, a list of nodes, text, number, bool or None.

        line: Counted from 1.

        text: Of a scalar, as it was written; empty for the others.

        keys: Of a mapping, the line of each key.

        first_line: Where the text of a scalar begins: below its line, if it is a block.

        bare: A scalar without quotes, which other readers may take for something else.
    """

    value: Any
    line: int
    text: str = ""
    keys: tuple[tuple[str, int], ...] = ()
    first_line: int = 0
    bare: bool = False

    def get(self, *path: str | int) -> Node | None:
        """
        The node at a path of keys and positions; None if there is none.

        >>> parse_nodes("a: [{b: 1}]")[0].get("a", 0, "b").value
        1
        """
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            if isinstance(step, int):
                items = node.value if isinstance(node.value, list) else ()
                node = items[step] if step < len(items) else None
            else:
                node = node.value.get(step) if isinstance(node.value, dict) else None
        return node

    def words(self, *path: str | int) -> list[Node]:
        """
        The items of a list of scalars at a path; a scalar there is a list of one.
        """
        node = self.get(*path)
        if node is None or node.value is None or isinstance(node.value, dict):
            return []
        items = node.value if isinstance(node.value, list) else [node]
        return [item for item in items if not isinstance(item.value, (dict, list))]

    def string(self, *path: str | int) -> str:
        """
        The scalar at a path as it was written; empty if there is none.
        """
        node = self.get(*path)
        return "" if node is None or node.value is None or isinstance(node.value, (dict, list)) else node.text

    def number(self, *path: str | int) -> int | None:
        """
        The whole number at a path, quoted or not.
        """
        text = self.string(*path).strip()
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None

    def items(self, *path: str | int) -> list[Node]:
        """
        The items of the list at a path.
        """
        node = self.get(*path)
        return list(node.value) if node is not None and isinstance(node.value, list) else []

    def entries(self, *path: str | int) -> dict[str, Node]:
        """
        The entries of the mapping at a path.
        """
        node = self.get(*path)
        return dict(node.value) if node is not None and isinstance(node.value, dict) else {}

    def key_line(self, key: str) -> int:
        """
        The line of a key of this mapping; its own line if it is not there.
        """
        return dict(self.keys).get(key, self.line)

    def walk(self) -> Iterator[Node]:
        """
        Every scalar below.
        """
        pending = [self]
        while pending:
            node = pending.pop()
            if isinstance(node.value, dict):
                pending += node.value.values()
            elif isinstance(node.value, list):
                pending += node.value
            else:
                yield node

    def plain(self) -> Any:
        """
        Without lines.
        """
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def parse_nodes(text: str, *, where: str = "the file", first_line: int = 1) -> list[Node]:
    r"""
    The documents of a YAML text; empty ones are left out.

    Args:
        first_line: Of the text, where it is a part of another file.

    Raises:
        SourceError: Too large, not YAML, with tags, cyclic, or aliases that unfold without end.

    >>> node = parse_nodes("command:\n  - --port\n  - 8000")[0].get("command", 1)
    >>> node.value, node.text, node.line
    (8000, '8000', 3)
    """
    import yaml

    if len(text) > MAX_YAML_CHARACTERS:
        message = f"{where} has {len(text):,} characters of YAML; at most {MAX_YAML_CHARACTERS:,} are read"
        raise SourceError(message, source=where)
    try:
        roots: list[yaml.Node | None] = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        reader = _Reader(where, first_line)
        nodes = [reader.node(root, ()) for root in roots if root is not None]
        return [node for node in nodes if node.value is not None]
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + first_line}" if error.problem_mark else ""
        message = f"{where} is not usable YAML: {error.problem}{line}; correct it there"
        raise SourceError(" ".join(message.split()), source=where) from None
    except (yaml.YAMLError, ValueError) as error:
        message = f"{where} is not usable YAML: {' '.join(str(error).split())[:200]}; correct it there"
        raise SourceError(message, source=where) from None
    except RecursionError:
        raise SourceError(_too_deep(where), source=where) from None


def _too_deep(where: str) -> str:
    return f"{where} nests deeper than {_DEEPEST} levels; no deployment does"


class _Reader:
    """
    From PyYAML's nodes to ours, counting what aliases unfold to.
    """

    def __init__(self, where: str, first_line: int) -> None:
        import yaml

        self.where = where
        self.first_line = first_line
        self.left = _MOST_NODES
        self.constructor = yaml.SafeLoader("")

    def node(self, node: yaml.Node, above: tuple[int, ...]) -> Node:
        import yaml

        self.left -= 1
        line = node.start_mark.line + self.first_line
        if self.left < 0:
            message = f"{self.where} unfolds to more than {_MOST_NODES:,} values; write out its aliases"
            raise SourceError(message, source=self.where)
        if id(node) in above:
            message = f"{self.where} has an alias inside what it names, in line {line}; take it out"
            raise SourceError(message, source=self.where)
        if len(above) > _DEEPEST:
            raise SourceError(_too_deep(self.where), source=self.where)
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, line, inside)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.node(item, inside) for item in node.value], line)
        style = getattr(node, "style", None)
        below = line + 1 if style in ("|", ">") else line
        return Node(self._scalar(node), line, str(node.value), first_line=below, bare=style is None)

    def _scalar(self, node: yaml.Node) -> Any:
        if not node.tag.startswith("tag:yaml.org,2002:"):
            return node.value  # Of a tag that only its own program knows, such as CloudFormation's.
        if node.tag.rpartition(":")[2] not in ("str", "int", "float", "bool", "null"):
            return node.value  # A date is text to every program here; nothing else is constructed.
        return self.constructor.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, line: int, inside: tuple[int, ...]) -> Node:
        import yaml

        values: dict[str, Node] = {}
        keys: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                message = f"{self.where} has a key that is no word, in line {key.start_mark.line + self.first_line}"
                raise SourceError(f"{message}; write a word", source=self.where)
            if key.tag == "tag:yaml.org,2002:merge":
                merged = self.node(value, inside)
                for source in merged.value if isinstance(merged.value, list) else [merged]:
                    values = {**source.entries(), **values}
                continue
            name = str(key.value)
            if name in keys:
                message = f"{self.where} has the key {name[:80]!r} twice, in lines {keys[name]} and "
                message += f"{key.start_mark.line + self.first_line}; keep one"
                raise SourceError(message, source=self.where)
            keys[name] = key.start_mark.line + self.first_line
            values[name] = self.node(value, inside)
        return Node(values, line, keys=tuple(keys.items()))
