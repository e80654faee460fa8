"""
The built-in GPU catalog: names to `GpuSpec`.

A name finds exactly one GPU or none; what could be several is refused with the candidates.
"""

from __future__ import annotations

import re
from functools import cache

from vllm_sizing.catalog.gpu_rows import Row, gpu_of_row, gpu_rows, split_names
from vllm_sizing.catalog.names import fold, quote, suggest
from vllm_sizing.errors import InvalidValueError, UnknownNameError
from vllm_sizing.specs.gpu import GpuSpec

# nvidia-smi prints some of these before the name, people leave them out.
_VENDOR_WORDS = ("nvidia", "geforce", "tesla", "amd", "instinct", "intel", "google")

# Words that tell boards of one chip apart: a name without them is not short for one that has them.
_BOARD_WORDS = ("sxm", "pcie", "nvl")

_SHORT = {
    "h100": ("h100-sxm", "h100 is taken as the SXM board; h100-pcie and h100-nvl are other boards"),
    "h200": ("h200-sxm", "h200 is taken as the SXM board; h200-nvl is another board"),
}

# What nvidia-smi prints for these it prints for boards with less memory, too.
_SHARED_PRINTS = ("rtx-3060-12gb", "rtx-4060-ti-16gb", "rtx-5060-ti-16gb", "jetson-agx-orin-64gb")

# nvidia-smi prints this for an H100 with 94 GB that has no other name, people write it for the SXM board.
_REFUSED = {"nvidiah100": ("h100-sxm", "h100-pcie", "h100-nvl")}


def gpu_names() -> tuple[str, ...]:
    """
    The keys of the catalog, in the order of the table.

    >>> "h100-sxm" in gpu_names()
    True
    """
    return tuple(dict.fromkeys(row["key"] for row in gpu_rows()))


def all_gpus() -> tuple[GpuSpec, ...]:
    """
    Every GPU of the catalog, as its key finds it.

    >>> len(all_gpus()) == len(gpu_names())
    True
    """
    return tuple(find_gpu(key) for key in gpu_names())


def find_gpu(name: str) -> GpuSpec:
    """
    The GPU of that name: a key, a usual name, or what nvidia-smi prints.

    Raises:
        UnknownNameError: The name is not known, or could be several GPUs; `candidates` has the
            keys that might have been meant.

    >>> find_gpu("NVIDIA H100 80GB HBM3").name
    'h100-sxm'
    >>> find_gpu("RTX 4090").memory_bytes
    25250627584
    """
    index = _index()
    wanted = fold(str(name))
    if wanted in _SHORT:
        key, assumed = _SHORT[wanted]
        return gpu_of_row(index[fold(key)], assumed)
    if wanted not in _REFUSED:
        for spelling in (wanted, _without_vendor(wanted)):
            if spelling in index:
                return gpu_of_row(index[spelling], _assumption(spelling, index[spelling]))
    raise _unknown(str(name))


def parse_gpu_count(text: str) -> tuple[int, str]:
    """
    ``4xh100-sxm`` is four GPUs of that name; a name alone is one.  The name is not looked up.

    Raises:
        InvalidValueError: The number is 0, or stands behind the name.

    >>> parse_gpu_count("4xH100"), parse_gpu_count("8 x A100 80GB SXM"), parse_gpu_count("l4")
    ((4, 'H100'), (8, 'A100 80GB SXM'), (1, 'l4'))
    """
    if match := re.fullmatch(r"\s*(\d{1,6})\s*[xX]\s*(\S.*)", text, re.ASCII | re.DOTALL):
        number, name = int(match[1]), match[2].rstrip()
        if number == 0:
            message = f"gpu {quote(text)} asks for no GPU; write 1x{name} or more"
            raise InvalidValueError(message, field="gpu", value=text)
        return number, name
    if match := re.fullmatch(r"\s*(\S.*?)\s*[xX]\s*(\d{1,2})\s*", text, re.ASCII):
        message = f"gpu {quote(text)}: the number stands first, write {match[2]}x{match[1]}"
        raise InvalidValueError(message, field="gpu", value=text)
    return 1, text.strip()


@cache
def _index() -> dict[str, Row]:
    """
    Every folded name of the catalog; a key and its usual names mean the first line of the key.
    """
    index: dict[str, Row] = {}
    for row in gpu_rows():
        # One fold for all names of a line: finding the first GPU of a process is part of its start.
        for name in fold(f"{row['key']};{row['names']};{row['prints']}").split(";"):
            index.setdefault(name, row)
    for row in gpu_rows():
        telling = _telling_words(row["key"])
        for printed in fold(row["prints"]).split(";"):
            short = _without_vendor(printed)
            if all(word in short for word in telling):
                index.setdefault(short, row)
    return index


def _without_vendor(folded: str) -> str:
    for word in _VENDOR_WORDS:
        folded = folded.removeprefix(word)
    return folded


def _telling_words(key: str) -> list[str]:
    """
    The words of a key that tell it from boards of the same chip: memory and form.
    """
    return [word for word in key.split("-") if word in _BOARD_WORDS or word.endswith("gb")]


def _assumption(spelling: str, row: Row) -> str:
    printed = [fold(name) for name in split_names(row["prints"])]
    by_print = spelling in printed or spelling in map(_without_vendor, printed)
    if by_print:
        shared = row["key"] in _SHARED_PRINTS
        return f"boards with less memory than {row['key']} have the same name" if shared else ""
    siblings = [other for other in gpu_rows() if other["key"] == row["key"] and other is not row]
    if not siblings:
        return ""
    others = ", ".join(name for other in siblings for name in split_names(other["prints"]))
    return f"{row['key']} is taken as {split_names(row['prints'])[0]}; other boards are {others}"


def _unknown(name: str) -> UnknownNameError:
    words = set(_words(name)) - set(_VENDOR_WORDS)
    if not words:
        message = f"{quote(name)} names no GPU; write a name such as h100-sxm"
        return UnknownNameError(message, name=name)
    several = tuple(key for key, known in _words_by_key().items() if words <= known)
    several = _REFUSED.get(fold(name), several)
    if len(several) > 1:
        message = f"GPU {quote(name)} could be {_listing(several)}; name one"
        return UnknownNameError(message, name=name, candidates=several)
    keys = {spelling: row["key"] for spelling, row in _index().items()}
    keys.update((short, key) for short, (key, _) in _SHORT.items())
    near = (*several, *(keys[spelling] for spelling in suggest(name, keys)))
    near = tuple(dict.fromkeys(near))[:5]
    hint = f"did you mean {_listing(near)}?" if near else f"none of the {len(gpu_names())} is like it"
    message = f"GPU {quote(name)} is not in the catalog; {hint}"
    return UnknownNameError(message, name=name, candidates=near)


def _words(name: str) -> list[str]:
    return name.lower().replace("-", " ").replace("_", " ").replace(" gb", "gb").split()


def _words_by_key() -> dict[str, set[str]]:
    words: dict[str, set[str]] = {}
    for row in gpu_rows():
        names = (row["key"], *split_names(row["names"]), *split_names(row["prints"]))
        words.setdefault(row["key"], set()).update(word for name in names for word in _words(name))
    return words


def _listing(names: tuple[str, ...]) -> str:
    if len(names) > 8:
        return f"one of {len(names)} ({', '.join(names[:6])}, ...)"
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
