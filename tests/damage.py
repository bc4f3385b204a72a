"""Ways to damage a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

__all__ = ["IN_ITS_PLACE", "JSON_VALUES", "NOT_JSON", "mutated", "put_in_place"]


def put_in_place(name: str, path: Path) -> None:
    """Replace a file by something else."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    IN_ITS_PLACE[name](path)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _link(path: Path) -> None:
    path.with_name("elsewhere").touch()
    path.symlink_to("elsewhere")


IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link": _link,
    "loop": lambda path: path.symlink_to(path),
    "large": _large,
}
"""What may be in the place of a file that was removed."""

NOT_JSON = {
    "empty": b"",
    "cut": b'{"state": "succ',
    "bytes": b"\x00\xff",
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "a list": b"[]",
    "null": b"null",
    "UTF-16": '{"state": "succeeded"}'.encode("utf-16"),
    "digits": b'{"pid": ' + b"9" * 5000 + b"}",
}

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**63, 10**400, -1, 1e300, float("nan"), float("inf")])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "\0", "$reference", "succeeded"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a JSON object with one damage: bytes that differ, that are missing, or a value of a field."""
    kind = draw(st.sampled_from(["byte", "cut", "insert", "field", "field", "field", "no field", "more"]))
    at = draw(st.integers(0, len(content) - 1))
    if kind == "byte":
        return content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "insert":
        return content[:at] + draw(st.binary(min_size=1, max_size=4)) + content[at:]
    values = json.loads(content)
    if kind == "more":
        values[draw(st.text(max_size=5))] = draw(JSON_VALUES)
    elif kind == "no field":
        del values[draw(st.sampled_from(sorted(values)))]
    else:
        values[draw(st.sampled_from(sorted(values)))] = draw(JSON_VALUES)
    return json.dumps(values).encode()
