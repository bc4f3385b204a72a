"""The parameters of a function of the user."""

from __future__ import annotations

import functools

import pytest

from orchestrator.definition.parameters_of import parameters_of


def plain(a, b, /, c, d=1, *rest, e, f=2, **more): ...


PLAIN = {"a": True, "b": True, "c": True, "d": False, "e": True, "f": False}


class Kind:
    def method(self, x, y=1, *, seed): ...

    def __call__(self, x, **kwargs): ...


@pytest.mark.parametrize(
    ("function", "named", "has_kwargs"),
    [
        (plain, PLAIN, True),
        (functools.wraps(plain)(lambda *args: None), PLAIN, True),
        (functools.partial(plain, 1, 2, e=3), {"c": True, "d": False, "e": False, "f": False}, True),
        (lambda *rest: None, {}, False),
        (Kind().method, {"x": True, "y": False, "seed": True}, False),
        (Kind(), {"x": True}, True),
    ],
    ids=["function", "wrapper", "partial", "only rest", "method", "object"],
)
def test_parameters_are_named_in_order_with_whether_they_are_required(function, named, has_kwargs):
    found, takes_more = parameters_of(function)
    assert list(found.items()) == list(named.items())
    assert takes_more == has_kwargs


def test_a_function_in_c_may_have_no_signature():
    assert parameters_of(min) is None
