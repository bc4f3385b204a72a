"""The configuration of a cluster in a YAML file, or of OmegaConf, as plain values.

A value of `env_vars` may be a secret, and an error may be kept in a log. So no error quotes a line of the file, and
none is chained to one that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from orchestrator.damage import Damaged, open_regular, read_limited, refuse
from orchestrator.errors import DefinitionError

__all__ = ["HINT", "read_cluster_file", "resolve"]

HINT = "Give a YAML file with fields of SlurmCluster, such as partition: NAME, one on each line"
"""What to do if a cluster can't be read."""

LARGEST, MOST_VALUES = 1 << 20, 100_000
"""Bytes and values that the file of a cluster may have."""

# In their values `${NAME}` is an environment variable, unless NAME is a key of the file.
_SHELL_FIELDS = ("env_setup", "env_vars", "log_dir", "runner")
_SHELL_VARIABLE = re.compile(r"(?<!\\)\$\{[#!]?(\w+)(?=\}|:?[-+=?]|[#%/^,@\[])")
# In a message of PyYAML: from the first quoted text on that is longer than a character and no kind of token.
_QUOTED = re.compile(r" '(?!\\?.'|<).*", re.DOTALL)
_NAME = re.compile(r"^[\w-]*")
_INTERPOLATION = re.compile(r"(?<!\\)\$\{[^}]*\}?")

_WORDS = "|".join(f"{word}|{word.title()}|{word.upper()}" for word in ("yes", "no", "true", "false", "on", "off"))
_INTEGER, _EXPONENT = "(?:0|[1-9][0-9]*)", "(?:[eE][-+]?[0-9]+)"
_TYPES = {
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (_WORDS, list("yYnNtTfFoO")),
    "int": (f"[-+]?{_INTEGER}", list("-+0123456789")),
    "float": (
        rf"[-+]?(?:{_INTEGER}(?:\.[0-9]*{_EXPONENT}?|{_EXPONENT})|\.[0-9]+{_EXPONENT}?|\.inf)|\.nan",
        list("-+.0123456789"),
    ),
    "merge": ("<<", ["<"]),
}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Read plain values, and no key twice.

    Only a decimal number is a number. What YAML 1.1 takes for a number or a date besides stays text, because a time
    `1:30:00` and a name `007` or `2024_01` are meant as they are written.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in keys:
                text = f"found duplicate key {_NAME.findall(key.value)[0]}"
                raise yaml.constructor.ConstructorError(
                    "while constructing a mapping", node.start_mark, text, key.start_mark
                )
            keys.add(key.value)
        return node


for _tag, (_pattern, _first) in _TYPES.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_cluster_file(path: Path) -> Any:
    """Return the content of a YAML file, with the interpolations of OmegaConf resolved.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Any
        Plain values; of a valid file a dict.

    Raises
    ------
    DefinitionError
        If the file can't be read or resolved, or if it needs OmegaConf, which is not installed.
    """
    try:
        values = _load(path)
        if not isinstance(values, dict):
            return {} if values is None else values
        escaped = {key: _escape(value, values) if key in _SHELL_FIELDS else value for key, value in values.items()}
        interpolations = [
            f"an interpolation in {key}" if key == "env_vars" else found[0]
            for key, value in escaped.items()
            for text in _texts(value)
            if (found := _INTERPOLATION.search(text))
        ]
    except (OSError, ValueError, yaml.YAMLError, RecursionError, Damaged) as error:
        why = _without_quotes(error) if isinstance(error, yaml.MarkedYAMLError) else error
        raise DefinitionError(f"The cluster can't be read from {path}: {why}", HINT) from None
    if interpolations:
        return resolve(escaped, interpolations[0], path)
    return _map_texts(escaped, lambda text: text.replace(r"\${", "${"))


def _load(path: Path) -> Any:
    with open_regular(path, follow=True) as file:
        loader = _Loader(read_limited(file, LARGEST).decode())
        loader.name = str(path)  # for messages
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node, {})
        return loader.construct_document(node)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # PyYAML itself does not check that a value fits its tag, as in `!!int ''`.
        refuse("a value does not fit its tag")
    finally:
        loader.dispose()


def _without_quotes(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong, and in which line, without the line and without names and tags in it."""
    for mark in (error.context_mark, error.problem_mark):
        if mark is not None:
            mark.buffer = None
    error.context, error.problem = (text and _QUOTED.sub("", text) for text in (error.context, error.problem))
    return str(error)


def _check_size(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values of a node with all aliases replaced; raise `Damaged` if it is not one of a cluster.

    A few lines of aliases that name each other stand for more values than any memory has.
    """
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MOST_VALUES + 1  # until it is known: it contains itself
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    parts = (part for one in inner for part in (one if isinstance(one, tuple) else (one,)))
    size = known[id(node)] = 1 + sum(_check_size(part, known) for part in parts)
    return size if size <= MOST_VALUES else refuse(f"it has more than {MOST_VALUES} values, or one contains itself")


def resolve(config: Any, what: str = "the DictConfig", path: Path | None = None) -> Any:
    """Return a configuration as plain values, with the interpolations of OmegaConf resolved.

    Parameters
    ----------
    config : DictConfig or dict
        The configuration.
    what : str
        What needs OmegaConf.
    path : Path or None
        The file that it was read from.

    Returns
    -------
    Any
        Plain values.

    Raises
    ------
    DefinitionError
        If it can't be resolved, or OmegaConf is not installed.
    """
    where = f" from {path}" if path else ""
    try:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError as error:
        raise DefinitionError(
            f"The cluster can't be read{where}: {what} needs OmegaConf, which is not installed.",
            "Type: pip install 'slurm-orchestrator[hydra]'",
        ) from error
    try:
        return OmegaConf.to_container(OmegaConf.create(config) if isinstance(config, dict) else config, resolve=True)
    except OmegaConfBaseException as error:
        is_secret = re.search(r"\benv_vars\b", error.full_key or "")
        why = f"{error.full_key} contains an interpolation that can't be resolved" if is_secret else error
        raise DefinitionError(f"The cluster can't be read{where}: {why}", HINT) from None


def _escape(value: Any, keys: dict[Any, Any]) -> Any:
    """Escape the variables of the shell, so that OmegaConf leaves them as they are."""

    def escape(match: re.Match[str]) -> str:
        return match[0] if match[1] in keys else "\\" + match[0]

    return _map_texts(value, lambda text: _SHELL_VARIABLE.sub(escape, text))


def _map_texts(value: Any, function: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_texts(inner, function) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map_texts(inner, function) for inner in value]
    return function(value) if isinstance(value, str) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
