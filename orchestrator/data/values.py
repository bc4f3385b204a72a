"""Which values a table keeps: inputs and outputs as JSON and back, bit for bit.

The cells of a table in memory are made in `orchestrator.data.contents`, the texts of CSV files in
`orchestrator.data.cell_texts`.

JSON has numbers, text, true, false, null, lists and objects. A value of another type becomes an object with one key
that starts with ``$``. NaN and the infinities are written like Python's ``json`` does. NumPy values are recognised
without an import of NumPy, so that a task without arrays saves the time of the import.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from orchestrator.data.configurations import is_config, plain
from orchestrator.data.numpy_types import is_array
from orchestrator.data.references import Reference
from orchestrator.text import is_clean

if TYPE_CHECKING:
    from datetime import date, datetime

__all__ = ["check_name", "from_jsonable", "is_missing", "is_too_large", "plain_base", "to_jsonable"]

_PLAIN_NUMPY = {"float64", "int64", "bool", "bool_"}
_STORED_NUMPY = "biufcmMSU"
"""Kinds of NumPy's types whose bytes are the value."""

_MISSING_TYPES = {"NAType", "NaTType", "MaskedConstant"}
"""Types of pandas and NumPy whose only value means a missing one."""

DEEPEST = 100
"""Number of lists and the like that may be nested in each other."""

LONGEST_INT = 4300
"""Number of digits of the longest integer that can be stored: Python itself prints and reads no longer one."""

LARGEST_IN_TABLE = 10_000
"""Number of elements of an array in a table. A larger one gets a file of its own if a step stores it."""

_IN_A_FILE = "write it to its own file with experiment_sample.store(name, value, to_disk=True)"


def to_jsonable(value: Any) -> Any:
    """Convert a value to one that ``json.dumps`` accepts.

    Parameters
    ----------
    value : Any
        None, bool, int, float, complex, text, bytes, path, date, datetime, list, tuple, dict, set, a
        NumPy scalar or array, a `Reference`, or any nesting of these.

    Returns
    -------
    Any
        None, bool, int, float, str, list or dict. `from_jsonable` returns the original value, but for NumPy's float64,
        int64, bool and text, and for members of enums that are numbers or text, the equal Python value.

    Raises
    ------
    TypeError
        If the value has another type, or is nested more than 100 levels deep.
    ValueError
        If an integer has more than 4300 digits.
    """
    return _encode(value, 0)


def _encode(value: Any, depth: int) -> Any:
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if kind is int:
        return _checked_int(value)
    encode = _ENCODERS.get(kind)
    if encode is not None:
        if depth > DEEPEST:
            raise TypeError(
                f"a value that is nested more than {DEEPEST} levels deep, or contains itself, can't be stored in the "
                f"table: {_IN_A_FILE}"
            )
        return encode(value, depth + 1)
    if kind.__module__ == "datetime" and kind.__name__ in ("date", "datetime"):
        return {f"${kind.__name__}": value.isoformat()}
    if kind.__name__ in _MISSING_TYPES:
        return None
    if kind.__module__.partition(".")[0] == "numpy":
        return _encode_numpy(value, depth + 1)
    if isinstance(value, PurePosixPath):
        return {"$path": str(value)}
    if is_config(value):
        return _encode(plain(value), depth)
    base = plain_base(value)
    if base is not value:
        return _checked_int(base) if type(base) is int else base
    what = "a member of an enum" if isinstance(value, Enum) else "a value"
    raise TypeError(
        f"{what} of type {kind.__module__}.{kind.__qualname__} can't be stored in the table: use "
        f"{'its value' if isinstance(value, Enum) else 'numbers, text, lists or arrays'}, or {_IN_A_FILE}"
    )


def is_too_large(value: Any) -> bool:
    """Whether a value is an array of numbers that gets a file of its own, and in the table only its name."""
    return is_array(value) and value.size > LARGEST_IN_TABLE and value.dtype.kind in "biufc"


def check_name(name: Any, what: str) -> None:
    """Check the name of an input or output.

    Parameters
    ----------
    name : Any
        The name.
    what : {"input", "output"}
        Which of the two it names.

    Raises
    ------
    TypeError
        If it is not text.
    ValueError
        If it is empty, or contains what a file can't: NUL, or bytes that were not decoded as text.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of an {what} must be text, not {type(name).__name__}")
    if not name or not is_clean(name):
        raise ValueError(f"an {what} can't have the name {name!r}: use letters, digits or other characters of Unicode")


def plain_base(value: Any) -> Any:
    """Return the number or text that a value of a subclass is, such as a member of a ``(str, Enum)``.

    Parameters
    ----------
    value : Any
        Any value.

    Returns
    -------
    Any
        An equal int, float or str; the value itself if its class is derived from none of these.
    """
    # The methods of the base class: those of the subclass may do anything. `str` of an Enum is its name.
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    return value


def _checked_int(value: int) -> int:
    # 3.33 bits are a digit or more.
    limit = min(LONGEST_INT, sys.get_int_max_str_digits() or LONGEST_INT)
    if value.bit_length() > 3 * limit and abs(value) >= 10**limit:
        raise ValueError(
            f"an integer of more than {limit} digits can't be stored in the table: store its text, such as "
            f"hex(value), or {_IN_A_FILE}"
        )
    return value


def from_jsonable(value: Any) -> Any:
    """Return the value that `to_jsonable` converted.

    Parameters
    ----------
    value : Any
        The return value of `to_jsonable`, also after it was written to JSON and read again.

    Returns
    -------
    Any
        The original value.

    Raises
    ------
    ValueError
        If the value contains an unknown tag: an object with a single key that starts with ``$``.
    """
    if type(value) is list:
        return [from_jsonable(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        tag, content = next(iter(value.items()))
        if tag.startswith("$"):
            if tag not in _DECODERS:
                raise ValueError(f"a value has the unknown tag {tag!r}")
            return _DECODERS[tag](content)
    return {key: from_jsonable(item) for key, item in value.items()}


def is_missing(value: Any) -> bool:
    """Whether a value is missing: None, NaN, pandas' NA or NaT, or NumPy's `masked`.

    Parameters
    ----------
    value : Any
        Any value.

    Returns
    -------
    bool
        True for a missing value; arrays, lists and text are never missing.
    """
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    kind = type(value)
    if kind.__name__ in _MISSING_TYPES:
        return True
    return kind.__module__ == "numpy" and getattr(value, "shape", None) == () and value != value


def _encode_all(items: Iterable[Any], depth: int) -> list[Any]:
    return [_encode(item, depth) for item in items]


def _encode_dict(value: Mapping[Any, Any], depth: int) -> Any:
    plain = all(type(key) is str for key in value)
    if plain and not (len(value) == 1 and next(iter(value)).startswith("$")):
        return {key: _encode(item, depth) for key, item in value.items()}
    return {"$dict": [_encode_all(pair, depth) for pair in value.items()]}


def _encode_numpy(value: Any, depth: int) -> Any:
    import numpy as np  # it is loaded, because this is one of its values

    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, np.generic):
        if value.dtype.name in _PLAIN_NUMPY:
            return value.item()
        if value.dtype.kind in _STORED_NUMPY:
            return {"$scalar": _encode_bytes(value)}
    elif type(value) in (np.ndarray, np.memmap):
        if value.dtype.hasobject and value.dtype.kind == "O":
            items = _encode_all(value.ravel().tolist(), depth)
            return {"$array": {"dtype": "O", "shape": list(value.shape), "items": items}}
        if value.dtype.kind in _STORED_NUMPY:
            return {"$array": _encode_bytes(value)}
    raise TypeError(_why_not_stored(value))


def _encode_bytes(value: Any) -> dict[str, Any]:
    return {"dtype": value.dtype.str, "shape": list(value.shape), "data": _encode_base64(value.tobytes())}


def _why_not_stored(value: Any) -> str:
    kind, dtype = type(value), getattr(value, "dtype", None)
    what = f"a value of type {kind.__module__}.{kind.__qualname__}"
    if hasattr(value, "mask"):
        return f"{what} can't be stored in the table: use value.filled(...), or value.data and value.mask as two values"
    if dtype is not None and kind.__name__ in ("ndarray", "memmap", "void", "object_"):
        what = f"a NumPy value of type {dtype}"
    return f"{what} can't be stored in the table: use a plain array of numbers or text, or {_IN_A_FILE}"


def _decode_array(content: Mapping[str, Any]) -> Any:
    import numpy as np

    shape = tuple(content["shape"])
    if content["dtype"] == "O":
        array = np.empty(math.prod(shape), dtype=object)
        for position, item in enumerate(content["items"]):
            array[position] = from_jsonable(item)
        return array.reshape(shape)
    dtype, data = np.dtype(content["dtype"]), _decode_base64(content["data"])
    if not dtype.itemsize:  # empty texts
        return np.empty(shape, dtype)
    # frombuffer returns a read-only array; the user's array was writable.
    return np.frombuffer(data, dtype=dtype).reshape(shape).copy()


# Few tasks need these modules, which take as long as a short experiment.


def _encode_base64(value: bytes) -> str:
    from base64 import b64encode

    return b64encode(value).decode("ascii")


def _decode_base64(content: str) -> bytes:
    from base64 import b64decode

    return b64decode(content)


def _decode_datetime(content: str) -> datetime:
    from datetime import datetime

    return datetime.fromisoformat(content)


def _decode_date(content: str) -> date:
    from datetime import date

    return date.fromisoformat(content)


def _unpairs(content: list[list[Any]]) -> dict[Any, Any]:
    return {from_jsonable(key): from_jsonable(item) for key, item in content}


_ENCODERS: dict[type, Callable[[Any, int], Any]] = {
    list: _encode_all,
    tuple: lambda value, depth: {"$tuple": _encode_all(value, depth)},
    set: lambda value, depth: {"$set": _encode_all(sorted(value, key=repr), depth)},
    dict: _encode_dict,
    bytes: lambda value, depth: {"$bytes": _encode_base64(value)},
    complex: lambda value, depth: {"$complex": [value.real, value.imag]},
    Reference: lambda value, depth: {"$reference": value.to_json()},
}

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": lambda content: tuple(from_jsonable(item) for item in content),
    "$set": lambda content: {from_jsonable(item) for item in content},
    "$dict": _unpairs,
    "$bytes": _decode_base64,
    "$complex": lambda content: complex(*content),
    "$datetime": _decode_datetime,
    "$date": _decode_date,
    "$path": Path,
    "$array": _decode_array,
    "$scalar": lambda content: _decode_array(content)[()],
    "$reference": Reference.from_json,
}
