"""Documents changed at random: what may be in a file that somebody else wrote, or a disk spoilt."""

import copy
import json
from random import Random
from typing import Any

DEEP = "\0deep\0"  # stands for 5,000 lists, one in another

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 2.5, 1e308, 5e-324, -0.0, 10**30, 2**31, 2**53 + 1, 2**62, 2**62 + 1, 2**63,
    -(2**63), 10**400, float("inf"), float("-inf"), float("nan"), "", "a", "\0", "\ud800", "é", "٣", "inf", "-inf",
    "0x1p+٣", "0x1p+3300", "0x1p-3300", "-0x1p+0", "0x" + "f" * 2048 + "p+9", "0x1.8p+1", "0x1.0p+1023",
    "0x1.0p-1080", "nan", "0x1p+0",
    "-0x0.0p+0", "0x0.0p+0", "0x0.0000000000001p-1022", ",ojf", "O", "object", "int64", "uint64", "float64", "bool",
    "datetime64", "datetime64[ns]", "datetime64[0s]", "datetime64[999999999Y]", "timedelta64", "i8,f8", "V16", [], {},
    [1], [None, 1], [1, 1], [0, 1], [1, 0], [0, 10**400], [-1e308, 1e308], [[]], [0, 2**61], [2**31], {"a": 1}, DEEP,
]  # fmt: skip


def mutant(document: Any, random: Random) -> str:
    """The text of a document after one to three changes."""
    changed = copy.deepcopy(document)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        changed = _changed(changed, random)
    text = json.dumps(changed).replace(json.dumps(DEEP), "[" * 5000 + "]" * 5000)
    kind = random.random()
    if kind < 0.05:
        return _key_twice(text, random)
    return _spoilt(text, random) if kind < 0.15 else text


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


def _changed(document: Any, random: Random) -> Any:
    path = random.choice(_places(document))
    if not path:
        return copy.deepcopy(random.choice(VALUES)) if random.random() < 0.1 else document
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    key, old = path[-1], parent[path[-1]]
    kind = random.random()
    if kind < 0.1:
        del parent[key]
    elif kind < 0.2 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(random.choice(parent)))
    elif kind < 0.3 and isinstance(parent, dict):
        parent[random.choice(["more", "", "nan", *parent])] = copy.deepcopy(old)
    elif kind < 0.6:
        parent[key] = _near(copy.deepcopy(old), random)
    else:
        parent[key] = copy.deepcopy(random.choice(VALUES))
    return document


def _near(old: Any, random: Random) -> Any:
    """A value of the same type that is another one."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        halves = [old + 0.5, float(old)] if abs(old) < 10**300 else []
        return random.choice([old + 1, old - 1, -old, old * 2, str(old), *halves])
    if isinstance(old, str) and old:
        at = random.randrange(len(old))
        return old[:at] + random.choice("0123456789abcdefpx+-.,[]٣\0") + old[at + random.choice([0, 1]) :]
    if isinstance(old, list):
        return random.choice([old[::-1], old + old, old[:-1], [old]])
    return [old]


def _key_twice(text: str, random: Random) -> str:
    at = [i for i in range(len(text)) if text.startswith('", "', i) or text.startswith('{"', i)]
    if not at:
        return text
    start = text.index('"', random.choice(at) + 1)
    return text[:start] + '"format": "x", ' + text[start:]


def _spoilt(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return random.choice(
        [
            text[:at],
            text[:at] + random.choice('0{}[]",:\0\x1bé') + text[at + 1 :],
            text + text,
            text[:at] + text[at + 1 :],
        ]
    )
