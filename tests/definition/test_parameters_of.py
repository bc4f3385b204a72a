"""The parameters of a function, with and without `inspect`."""

from __future__ import annotations

import functools
import inspect

import pytest

from orchestrator.definition.parameters_of import parameters_of


def plain(a, b, /, c, d=1, *rest, e, f=2, **more): ...


def only_rest(*rest, **more): ...


@functools.wraps(plain)
def wrapper(*args, **kwargs): ...


class Kind:
    def method(self, x, y=1, *, seed): ...

    def rest(*args, seed): ...

    @classmethod
    def of_class(cls, x): ...

    @staticmethod
    def static(x, y=2): ...

    def __call__(self, x, **kwargs): ...


def with_signature(*args): ...


with_signature.__signature__ = inspect.signature(Kind.static)

FUNCTIONS = {
    "plain": plain,
    "only rest": only_rest,
    "wrapper": wrapper,
    "lambda": lambda x, *, y=1: x,
    "method": Kind().method,
    "function of a method": Kind.method,
    "method with rest": Kind().rest,
    "class method": Kind.of_class,
    "static": Kind.static,
    "object": Kind(),
    "class": Kind,
    "partial": functools.partial(plain, 1, 2, e=3),
    "with a signature": with_signature,
    "method of one with a signature": with_signature.__get__(1),
    "builtin": len,
    "generator": (lambda x, y: (yield x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_parameters_are_those_of_the_signature(name):
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    named = {p.name: p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    has_kwargs = any(p.kind is p.VAR_KEYWORD for p in parameters)
    assert parameters_of(FUNCTIONS[name]) == (named, has_kwargs)
    assert list(parameters_of(FUNCTIONS[name])[0]) == list(named)


def test_a_function_in_c_may_have_no_signature():
    assert parameters_of(min) is None
