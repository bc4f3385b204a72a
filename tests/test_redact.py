"""Secrets on a command line are not recorded."""

from __future__ import annotations

import pytest

from orchestrator.redact import redacted


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["orchestrator", "submit", "monkey.py", "--project-job", "keys"], None),
        (["study.py", "n=3", "rate=1e-3", "--seed", "7"], None),
        (["study.py", "API_TOKEN=abc"], ["study.py", "API_TOKEN=***"]),
        (["study.py", "api.key=abc=def"], ["study.py", "api.key=***"]),
        (["study.py", "--password=a b"], ["study.py", "--password=***"]),
        (["study.py", "--api-key", "abc", "more"], ["study.py", "--api-key", "***", "more"]),
        (["study.py", "--Secret", "--verbose", "x"], ["study.py", "--Secret", "--verbose", "x"]),
        (["study.py", "PASSWORD="], ["study.py", "PASSWORD=***"]),
        (["study.py", "url=https://me:abc@host/x"], ["study.py", "url=https://***@host/x"]),
    ],
)
def test_values_of_secrets_are_left_out(words, shown):
    assert redacted(words) == (words if shown is None else shown)
