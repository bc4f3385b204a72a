"""The names of a script whose values importing it does not give: those that its main guard and later code set.

A script that runs as `__main__` may set a name under `if __name__ == "__main__":`, by a `global` statement, or after it
has run another pipeline; or it may change the object of a name there. Its functions use these values, but a
process that imports the script does not compute them.
"""

from __future__ import annotations

import ast
import symtable
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from orchestrator.definition.pipeline import PipelineDefinition

__all__ = ["later_names"]

_NOT_TAKEN = (ModuleType, PipelineDefinition)


def later_names(text: str, values: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """Return the names that importing a script does not define as the running script did, and all names it uses.

    Parameters
    ----------
    text : str
        The script, which is the `__main__` of this process.
    values : mapping of str to Any
        The global names of the script, as they are now.

    Returns
    -------
    later : set of str
        Names that are set only, or again, by code that importing does not run; those whose object such code changes;
        and those whose list, dict or other literal has changed since.
    used : set of str
        Names that its functions and classes use.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:  # edited since it was started
        return set(), set()
    end = _line_of_first_run(tree)
    later = {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    not_imported = [statement for statement in tree.body if _is_guard(statement) or statement.lineno >= end]
    for statement in tree.body:
        if statement in not_imported or _has_changed(statement, values):
            later.update(_bound(statement))
    # A module is imported, and the pipeline is not changed by its methods.
    changed = {name for name in _changed(tree, not_imported) if not isinstance(values.get(name), _NOT_TAKEN)}
    later |= changed
    return later, set(_global_names(symtable.symtable(text, "<study>", "exec")))


def _has_changed(statement: ast.stmt, values: Mapping[str, Any]) -> bool:
    """Whether a statement sets a name to a literal, and the name has another value now, as a dict of settings may."""
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(target=ast.Name(id=name), value=value)
        ):
            with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                literal = ast.literal_eval(value or "")
                return type(literal) is not type(values.get(name)) or bool(literal != values[name])
    return False


def _changed(tree: ast.Module, not_imported: list[ast.stmt]) -> Iterator[str]:
    """Yield the names whose objects are changed by statements, and by the functions that these use."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    unread: list[ast.stmt] = list(not_imported)
    while unread:
        statement = unread.pop()
        local = _local_names(statement) if isinstance(statement, ast.FunctionDef) else set()
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in functions:
                unread.append(functions.pop(node.id))
            name = _name_of_changed(node)
            if name is not None and name not in local:
                yield name


def _name_of_changed(node: ast.AST) -> str | None:
    """Return the name whose object a node changes: by an attribute, an item, or a method called as a statement."""
    match node:
        case ast.Attribute(value=value, ctx=ast.Store() | ast.Del()):
            pass
        case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
            pass
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=value))):
            pass
        case _:
            return None
    while isinstance(value, ast.Attribute | ast.Subscript):
        value = value.value
    return value.id if isinstance(value, ast.Name) else None


def _local_names(function: ast.FunctionDef) -> set[str]:
    nodes = list(ast.walk(function))
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    names |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return names - {name for node in nodes if isinstance(node, ast.Global) for name in node.names}


def _global_names(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the global names that the functions and classes of a module use."""
    for child in table.get_children():
        yield from (symbol.get_name() for symbol in child.get_symbols() if symbol.is_global())
        yield from _global_names(child)


_first_run_line: int | None = None


def _line_of_first_run(tree: ast.Module) -> int:
    """Return the line where importing the script ends: that of the first pipeline that it runs without a guard."""
    global _first_run_line
    if _first_run_line is None:
        _first_run_line = _line_of_main()
    line = _first_run_line
    for statement in tree.body:
        if line is not None and statement.lineno <= line <= (statement.end_lineno or line):
            return sys.maxsize if _is_guard(statement) else statement.lineno
    return sys.maxsize


def _line_of_main() -> int | None:
    """Return the line of `__main__` that is executed."""
    frame = sys._getframe()
    names = vars(sys.modules["__main__"])
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals is names and frame.f_code.co_name == "<module>":
            return frame.f_lineno
    return None


def _is_guard(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module sets, but not those inside its functions."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield statement.name
            return
        case ast.Import() | ast.ImportFrom():
            yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
            return
    for node in ast.iter_child_nodes(statement):
        yield from _bound_in(node)


def _bound_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.stmt):
        yield from _bound(node)
    elif isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Store):
            yield node.id
    elif not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _bound_in(child)
