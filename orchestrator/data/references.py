"""Objects on disk: each has its own file, and the table contains the path."""

from __future__ import annotations

import _pickle as pickle  # the module `pickle` has slow classes, too
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, BinaryIO

from orchestrator.atomic import replacing
from orchestrator.data.load_functions import ALLOW, allows_everything, decode_function, encode_function
from orchestrator.errors import DataError, NotAllowed
from orchestrator.loading import main_name
from orchestrator.table_folder import DATA_FOLDER, TABLE_FILES
from orchestrator.trust import check_links, is_own, others_may_write, owner_of

__all__ = ["OF_F3DASM", "Reference", "copy_objects", "keep_file", "write_object"]


@dataclass
class Reference:
    """An object on disk.

    Parameters
    ----------
    path : str
        Path of the file, relative to the project folder's ``experiment_data``, or absolute.
    load_function : callable, str or None, default None
        ``load_function(path, **load_kwargs) -> object``, or its text by `encode_function`. By default the suffix
        decides: ``.npy``, ``.csv``, ``.nca``, ``.ncs``, ``.png``, ``.pkl``; for any other, the object is the path.
    load_kwargs : dict, str or None, default None
        Further arguments of the load function, or their text by `encode_function`.
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

        Raises
        ------
        NotAllowed
            If the file is not below the project folder, other users may have written it, or the table names a function
            that it may not name.
        """
        path = Path(project_dir) / DATA_FOLDER / self.path
        if not allows_everything():
            _check_place(path, Path(project_dir))
        function = decode_function(self.load_function) or loader_of(path)
        kwargs = decode_function(self.load_kwargs) or {}
        if not path.exists():
            raise DataError(f"{path}, which the table names, does not exist.", "Restore it from a copy.")
        return function(path, **kwargs)

    def __str__(self) -> str:
        return self.path

    def to_json(self) -> dict[str, Any]:
        """Return the reference as f3dasm's JSON."""
        return {
            "__type__": "ReferenceValue",
            "reference": self.path,
            "load_function": encode_function(self.load_function, null=True),
            "load_kwargs": encode_function(self.load_kwargs),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Reference:
        """Create a reference from its JSON. Functions are unpickled only when they are used."""
        return cls(content["reference"], content.get("load_function"), content.get("load_kwargs"))


def _check_place(path: Path, project_dir: Path) -> None:
    """Raise `NotAllowed` unless a file is below the project folder and only this user can have written it.

    Only the folders below ``experiment_data`` are checked, too: in a shared folder that one is writable for others.
    """
    real, top = path.resolve(), project_dir.resolve()
    if not real.is_relative_to(top):
        raise NotAllowed(
            f"{path} is not in the folder of its table, so it was not read.",
            f"If you trust who wrote the table, allow it for one command: {ALLOW}=1 COMMAND",
        )
    table = top / DATA_FOLDER
    folders = [folder for folder in real.parents if folder.is_relative_to(table) and folder != table]
    for checked in (real, *folders):
        if not checked.exists() or (is_own(checked) and not others_may_write(checked)):
            continue
        import shlex  # only for the text of this error

        raise NotAllowed(
            f"{checked} {_why_not(checked)}, so {real.name} was not read: loading it could run their code.",
            f"If you trust its content: chmod go-w {shlex.quote(str(checked))}\n"
            f"Or allow it for one command: {ALLOW}=1 COMMAND",
        )


def _why_not(path: Path) -> str:
    return "may be changed by other users" if is_own(path) else f"belongs to {owner_of(path)}"


def keep_file(project_dir: Path, name: str, identity: str, file: Path | str) -> str:
    """Keep a file of the user's own as an output: copy it to ``experiment_data/<name>``, unless it is in that folder.

    Parameters
    ----------
    project_dir : Path
        The project folder.
    name : str
        Name of the input or output.
    identity : str
        Identifier of the experiment in the name of the copy.
    file : Path or str
        The file, relative to ``experiment_data`` or to the working folder, or absolute.

    Returns
    -------
    str
        Path of the file or its copy, relative to ``experiment_data``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    base = Path(project_dir).absolute() / DATA_FOLDER
    in_base = [] if _is_of_table(base / file, base) else [base / file]
    found = next((path for path in (*in_base, Path(file).absolute()) if path.is_file()), None)
    if found is None:
        what = "is a folder" if Path(file).is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{str(file)!r} {what}, so it can't be the value of {name!r}: with to_disk=True, text names a file"
        )
    if found.resolve().is_relative_to(base.resolve()) and not _is_of_table(found, base):
        return str(found.resolve().relative_to(base.resolve()))
    target = _target(base, name, identity)
    target = target.with_name(target.name + found.suffix)
    with replacing(target) as copy, found.open("rb") as original:
        while part := original.read(1 << 20):
            copy.write(part)
    _protect(target)
    return str(target.relative_to(base))


def _is_of_table(path: Path, base: Path) -> bool:
    """Whether a file is one of the table itself, such as ``output.csv``: the next table replaces it."""
    real, top = path.resolve(), base.resolve()
    inside = real.relative_to(top).parts if real.is_relative_to(top) else ()
    return inside[:1] != () and (inside[0].startswith(".") or (len(inside) == 1 and inside[0] in TABLE_FILES))


def _protect(path: Path) -> None:
    with suppress(OSError):
        path.chmod(path.stat().st_mode & ~0o022)


def _target(base: Path, name: str, identity: str) -> Path:
    """Return where the object of an experiment is written, without a suffix. No file has this path."""
    target = base / name / identity
    base.mkdir(parents=True, exist_ok=True)
    # Not writable for others, whatever the umask: otherwise it would not be loaded.
    target.parent.mkdir(mode=0o755, exist_ok=True)
    check_links(base, target.parent)
    if target.exists() or any(target.parent.glob(f"{identity}.*")):
        # A row that has been renumbered may refer to the existing file.
        target = target.with_name(f"{identity}-{os.urandom(4).hex()}")
    return target


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
        Name of the input or output.
    identity : str
        Identifier of the experiment in the name of the file.
    value : Any
        The object. A NumPy array is written as ``.npy``, a pandas object as ``.csv``, a DataArray or Dataset of xarray
        as ``.nca`` or ``.ncs``, another object as a pickle.
    store_function : callable or None, default None
        ``store_function(value, path) -> path`` replaces these formats; `path` has no suffix.

    Returns
    -------
    str
        Path of the file, relative to ``experiment_data`` if it is below that folder.
    """
    base = Path(project_dir) / DATA_FOLDER
    target = _target(base, name, identity)
    written = Path((store_function or _write_by_type)(value, target))
    _protect(written)
    return str(written.relative_to(base) if written.is_relative_to(base) else written)


def copy_objects(paths: Iterable[str], origin: Path, target: Path) -> None:
    """Copy objects on disk from one project folder to another; absolute paths, and existing files, are left as is.

    Parameters
    ----------
    paths : iterable of str
        Paths of the files, relative to ``experiment_data``.
    origin, target : Path
        The project folders.

    Raises
    ------
    DataError
        If a file does not exist.
    """
    if origin == target:
        return
    for path in dict.fromkeys(paths):
        old, new = origin / DATA_FOLDER / path, target / DATA_FOLDER / path
        if old == new or new.exists():
            continue
        if not old.exists():
            raise DataError(f"{old}, which the table names, does not exist.", "Restore it from a copy.")
        new.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_links(target / DATA_FOLDER, new.parent)
        with replacing(new) as file:
            file.write(old.read_bytes())


def _write_by_type(value: Any, target: Path) -> Path:
    package = type(value).__module__.partition(".")[0]
    suffix = ".pkl"
    if package == "numpy" and type(value).__name__ == "ndarray" and not value.dtype.hasobject:
        suffix = ".npy"
    elif package == "pandas" and hasattr(value, "to_csv"):
        suffix = ".csv"
    elif package == "xarray" and type(value).__name__ in _OF_XARRAY:
        suffix = _OF_XARRAY[type(value).__name__]
    path = target.with_name(target.name + suffix)
    with replacing(path) as file:
        if suffix == ".npy":
            import numpy as np

            np.save(file, value)
        elif suffix == ".csv":
            value.to_csv(file)
        elif suffix in _OF_XARRAY.values():
            file.write(value.to_netcdf())
        else:
            _dump(value, file)
    return path


def _dump(value: Any, file: BinaryIO) -> None:
    """Pickle a value; what `__main__` defines gets the name by which other processes can import it."""
    (pickle.Pickler if main_name() is None else _Pickler)(file).dump(value)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            from pkgutil import resolve_name

            name = f"{main_name()}:{value.__qualname__}"
            with suppress(AttributeError):
                if resolve_name(name) is value:
                    return resolve_name, (name,)
        return NotImplemented


def _load_numpy(path: Path, **kwargs: Any) -> Any:
    import numpy as np

    return np.load(path, **kwargs)


def _load_csv(path: Path, **kwargs: Any) -> Any:
    import pandas as pd

    options: dict[str, Any] = {"index_col": 0, **kwargs}
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        options.setdefault("float_precision", "round_trip")  # the only mode of later versions
    return pd.read_csv(path, **options)


def _load_pickle(path: Path, **kwargs: Any) -> Any:
    with Path(path).open("rb") as file:
        try:
            return pickle.load(file, **kwargs)
        except ModuleNotFoundError as error:
            raise DataError(
                f"{path} contains an object of the module {error.name}, which can't be imported here.",
                "Install its package, or run the command where the module can be imported.",
            ) from error


def _load_dataarray(path: Path, **kwargs: Any) -> Any:
    with _imported("xarray", path).open_dataarray(path, **kwargs) as array:
        return array.load()


def _load_dataset(path: Path, **kwargs: Any) -> Any:
    with _imported("xarray", path).open_dataset(path, **kwargs) as dataset:
        return dataset.load()


def _load_image(path: Path, **kwargs: Any) -> Any:
    return _imported("matplotlib.image", path).imread(path, **kwargs)


def _imported(name: str, path: Path) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise DataError(
            f"{path} needs the package {package}, which is not installed here.", f"Install it: pip install {package}"
        ) from error


_OF_XARRAY = {"DataArray": ".nca", "Dataset": ".ncs"}

_LOADERS: dict[str, Callable[..., Any]] = {
    ".npy": _load_numpy,
    ".csv": _load_csv,
    ".nca": _load_dataarray,
    ".ncs": _load_dataset,
    ".png": _load_image,
    ".pkl": _load_pickle,
    ".pickle": _load_pickle,
}

OF_F3DASM: dict[str, Callable[..., Any]] = {
    "numpy_load": _load_numpy,
    "pandas_load": _load_csv,
    "pickle_load": _load_pickle,
    "xarray_dataarray_load": _load_dataarray,
    "xarray_dataset_load": _load_dataset,
    "figure_load": _load_image,
}
"""What reads the formats of f3dasm's functions of these names, which the tables of f3dasm may name."""


def loader_of(path: Path) -> Callable[..., Any]:
    """Return the function that reads a file, by its suffix. With an unknown one, the object is the path."""
    return _LOADERS.get(path.suffix, Path)
