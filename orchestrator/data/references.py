"""Objects beside the table: written to a file of their own, the table holds the path."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.atomic import replacing

__all__ = ["DATA_FOLDER", "Reference", "freeze_function", "thaw_function", "write_object"]

DATA_FOLDER = "experiment_data"


@dataclass(frozen=True)
class Reference:
    """An object that lies on disk.

    Parameters
    ----------
    path : str
        Where: relative to the folder ``experiment_data`` of the project folder, or absolute.
    load_function : callable, str or None, default None
        ``load_function(path, **load_kwargs) -> object``, or that function as `freeze_function`
        returned it. Without one, the suffix decides: ``.npy``, ``.csv``, else pickle.
    load_kwargs : dict, str or None, default None
        Further arguments for the load function, likewise.
    """

    path: str
    load_function: Callable[..., Any] | str | None = None
    load_kwargs: dict[str, Any] | str | None = None

    def load(self, project_dir: Path) -> Any:
        """Read the object.

        Parameters
        ----------
        project_dir : Path
            The project folder that the path is relative to.

        Returns
        -------
        Any
            The object.
        """
        path = Path(project_dir) / DATA_FOLDER / self.path
        function = thaw_function(self.load_function) or _LOADERS.get(path.suffix, _load_pickle)
        return function(path, **(thaw_function(self.load_kwargs) or {}))

    def __str__(self) -> str:
        return self.path

    def to_json(self) -> dict[str, Any]:
        """Return f3dasm's JSON form of a reference."""
        return {
            "__type__": "ReferenceValue",
            "reference": self.path,
            "load_function": freeze_function(self.load_function, null=True),
            "load_kwargs": freeze_function(self.load_kwargs),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Reference:
        """Make a reference of its JSON form; nothing is unpickled before it is needed."""
        return cls(content["reference"], content.get("load_function"), content.get("load_kwargs"))


def freeze_function(function: Any, *, null: bool = False) -> str | None:
    """Turn a function (or its keyword arguments) into text, as f3dasm keeps it in JSON.

    Parameters
    ----------
    function : Any
        What to pickle; text is taken as frozen already.
    null : bool, default False
        Whether None is pickled, too (f3dasm unpickles a reference's function without a check).

    Returns
    -------
    str or None
        The pickle in hexadecimal digits.
    """
    if isinstance(function, str) or (function is None and not null):
        return function
    return pickle.dumps(function).hex()


def thaw_function(frozen: Any) -> Any:
    """Undo `freeze_function`; what is not text is returned as it is."""
    return pickle.loads(bytes.fromhex(frozen)) if isinstance(frozen, str) else frozen


def write_object(
    project_dir: Path,
    name: str,
    identity: str,
    value: Any,
    store_function: Callable[..., Any] | None = None,
) -> str:
    """Write an object to ``experiment_data/<name>/<identity>.<suffix>``.

    Parameters
    ----------
    project_dir : Path
        The project folder.
    name : str
        The input's or output's name.
    identity : str
        What tells this file from those of other experiments.
    value : Any
        The object: a NumPy array (``.npy``), something of pandas (``.csv``), else pickled.
    store_function : callable or None, default None
        ``store_function(value, path) -> path`` instead of the built-in ones.

    Returns
    -------
    str
        The file's path, relative to ``experiment_data`` where it lies below it.
    """
    base = Path(project_dir) / DATA_FOLDER
    target = base / name / identity
    target.parent.mkdir(parents=True, exist_ok=True)
    if any(target.parent.glob(f"{identity}.*")):
        # Another row, renumbered since, may refer to the file of that name.
        target = target.with_name(f"{identity}-{os.urandom(4).hex()}")
    written = Path((store_function or _write_by_type)(value, target))
    return str(written.relative_to(base) if written.is_relative_to(base) else written)


def _write_by_type(value: Any, target: Path) -> Path:
    package = type(value).__module__.partition(".")[0]
    suffix = ".pkl"
    if package == "numpy" and type(value).__name__ == "ndarray" and not value.dtype.hasobject:
        suffix = ".npy"
    elif package == "pandas" and hasattr(value, "to_csv"):
        suffix = ".csv"
    path = target.with_name(target.name + suffix)
    with replacing(path) as file:
        if suffix == ".npy":
            import numpy as np

            np.save(file, value)
        elif suffix == ".csv":
            value.to_csv(file)
        else:
            pickle.dump(value, file)
    return path


def _load_numpy(path: Path, **kwargs: Any) -> Any:
    import numpy as np

    return np.load(path, **kwargs)


def _load_csv(path: Path, **kwargs: Any) -> Any:
    import pandas as pd

    options: dict[str, Any] = {"index_col": 0, **kwargs}
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        options.setdefault("float_precision", "round_trip")  # later versions always read so
    return pd.read_csv(path, **options)


def _load_pickle(path: Path, **kwargs: Any) -> Any:
    with Path(path).open("rb") as file:
        return pickle.load(file, **kwargs)


_LOADERS: dict[str, Callable[..., Any]] = {".npy": _load_numpy, ".csv": _load_csv}
