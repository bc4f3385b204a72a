"""Convert inputs and outputs to JSON and back, bit for bit. For the cells of a CSV file: `orchestrator.data.columns`.

JSON has numbers, text, true, false, null, lists and objects. A value of another type becomes an object with one key
that starts with ``$``. NaN and the infinities are written like Python's ``json`` does. NumPy values are recognised
without an import of NumPy, so that a task without arrays saves the time of the import.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path, PurePath
from typing import Any

from orchestrator.data.references import Reference

__all__ = ["from_jsonable", "is_missing", "to_jsonable"]

_PLAIN_NUMPY = {"float64", "int64", "bool", "bool_"}


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
        int64, bool and text the equal Python value.

    Raises
    ------
    TypeError
        If the value has another type.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    encode = _ENCODERS.get(kind)
    if encode is not None:
        return encode(value)
    if kind.__module__.partition(".")[0] == "numpy":
        return _encode_numpy(value)
    if isinstance(value, PurePath):
        return {"$path": str(value)}
    if kind.__name__ == "NAType":
        return None
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    raise TypeError(
        f"a value of type {kind.__module__}.{kind.__qualname__} can't be stored in the table: use "
        "numbers, text, lists or arrays, or write it to its own file with "
        "experiment_sample.store(name, value, to_disk=True)"
    )


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
    """Whether a value is missing: None, NaN, pandas' NA or NaT.

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
    if kind.__name__ in ("NAType", "NaTType"):
        return True
    return kind.__module__ == "numpy" and getattr(value, "shape", None) == () and value != value


def _encode_dict(value: Mapping[Any, Any]) -> Any:
    plain = all(type(key) is str for key in value)
    if plain and not (len(value) == 1 and next(iter(value)).startswith("$")):
        return {key: to_jsonable(item) for key, item in value.items()}
    return {"$dict": [[to_jsonable(key), to_jsonable(item)] for key, item in value.items()]}


def _encode_numpy(value: Any) -> Any:
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        raise TypeError(f"a value of type {type(value)} can't be stored in the table")
    if isinstance(value, str):
        return str(value)
    scalar = not hasattr(value, "__setitem__")
    if scalar and dtype.name in _PLAIN_NUMPY:
        return value.item()
    if dtype.names is not None or (scalar and dtype.hasobject):
        raise TypeError(
            "a structured NumPy value can't be stored in the table: use plain arrays, or "
            "experiment_sample.store(name, value, to_disk=True)"
        )
    if dtype.hasobject:
        items = [to_jsonable(item) for item in value.ravel().tolist()]
        return {"$array": {"dtype": "O", "shape": list(value.shape), "items": items}}
    content = {
        "dtype": dtype.str,
        "shape": list(value.shape),
        "data": base64.b64encode(value.tobytes()).decode("ascii"),
    }
    return {"$scalar": content} if scalar else {"$array": content}


def _decode_array(content: Mapping[str, Any]) -> Any:
    import numpy as np

    shape = tuple(content["shape"])
    if content["dtype"] == "O":
        array = np.empty(math.prod(shape), dtype=object)
        for position, item in enumerate(content["items"]):
            array[position] = from_jsonable(item)
        return array.reshape(shape)
    data = base64.b64decode(content["data"])
    # frombuffer returns a read-only array; the user's array was writable.
    return np.frombuffer(data, dtype=np.dtype(content["dtype"])).reshape(shape).copy()


def _unpairs(content: list[list[Any]]) -> dict[Any, Any]:
    return {from_jsonable(key): from_jsonable(item) for key, item in content}


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    list: lambda value: [to_jsonable(item) for item in value],
    tuple: lambda value: {"$tuple": [to_jsonable(item) for item in value]},
    set: lambda value: {"$set": [to_jsonable(item) for item in sorted(value, key=repr)]},
    dict: _encode_dict,
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode("ascii")},
    complex: lambda value: {"$complex": [value.real, value.imag]},
    datetime: lambda value: {"$datetime": value.isoformat()},
    date: lambda value: {"$date": value.isoformat()},
    Reference: lambda value: {"$reference": value.to_json()},
}

_DECODERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": lambda content: tuple(from_jsonable(item) for item in content),
    "$set": lambda content: {from_jsonable(item) for item in content},
    "$dict": _unpairs,
    "$bytes": base64.b64decode,
    "$complex": lambda content: complex(*content),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$path": Path,
    "$array": _decode_array,
    "$scalar": lambda content: _decode_array(content)[()],
    "$reference": Reference.from_json,
}
