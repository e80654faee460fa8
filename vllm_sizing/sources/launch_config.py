"""
A file for ``vllm serve --config`` as the words that vLLM makes of it.

Source: vLLM 0.33 ``utils/argparse_utils.py:FlexibleArgumentParser.load_config_file``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_sizing.sources.launch import Launch, Word, finding

if TYPE_CHECKING:
    from vllm_sizing.sources.yaml_nodes import Node


def parse_config(document: Node) -> Launch:
    r"""
    The server that ``vllm serve --config FILE`` would start.

    >>> from vllm_sizing.sources.yaml_nodes import parse_nodes
    >>> launch = parse_config(parse_nodes("model: m\nenforce-eager: true\nmax-model-len: 8k")[0])
    >>> [word.text for word in launch.words]
    ['m', '--enforce-eager', '--max-model-len', '8k']
    """
    from json import dumps

    words: list[Word] = []
    found = []
    for name, node in document.entries().items():
        line = document.key_line(name)
        if name == "model":
            words.insert(0, Word(node.text, line))
        elif isinstance(node.value, bool):
            if node.value:
                words.append(Word(f"--{name}", line))
            else:
                message = f"{name}: false is read as nothing at all"
                hint = f"write no-{name.removeprefix('no-')}: true, or leave it out"
                found.append(finding("ignored-flag", message, line=line, hint=hint))
        elif isinstance(node.value, list):
            if node.value:
                words += [Word(f"--{name}", line), *(Word(_text(item), item.line) for item in node.value)]
        elif isinstance(node.value, dict):
            words += [Word(f"--{name}", line), Word(dumps(node.plain()), node.line)]
        else:
            words += [Word(f"--{name}", line), Word(_text(node), node.line)]
    return Launch("config", "config", document.line, tuple(words), findings=tuple(found))


def _text(node: Node) -> str:
    from json import dumps

    if isinstance(node.value, (dict, list)):
        return dumps(node.plain())
    return node.text if isinstance(node.value, str) else str(node.value)
