"""`~` and variables in the paths that users write."""

from __future__ import annotations

from orchestrator.errors import DefinitionError
from orchestrator.expansion import expanded, unset_variables


def test_a_path_is_expanded_as_a_shell_would(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = {"A": "/a b", "B_1": "b"}
    assert expanded("~/x", "rootdir", values) == "/home/me/x"
    assert expanded("$A/${B_1}c/$(id)/~", "rootdir", values) == "/a b/bc/$(id)/~"
    assert expanded("plain/5$", "rootdir", values) == "plain/5$"


def test_a_path_that_exists_is_taken_as_it_is(workspace):
    (workspace / "$A").mkdir()
    assert expanded("$A", "rootdir", {"A": "x"}) == "$A"


def test_a_variable_that_is_not_set_is_named(golden):
    with golden.raises(DefinitionError):
        expanded("$A/$NO_SUCH", "rootdir", {"A": "x"})
    assert unset_variables("$A ${B} $C", {"A": "1"}, ["C"]) == ["B"]
