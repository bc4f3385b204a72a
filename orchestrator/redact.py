"""Hide what may be a secret: in a command line, and a value that has a name, as `diff` shows them.

The values of the `env_vars` of a cluster do not come here. They are not in the records: `ClusterConfig.stored` in
`orchestrator.engine.cluster.config`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["HIDDEN", "is_secret", "redacted"]

HIDDEN = "***"
"""Stands in place of a value."""

_SECRET = re.compile(r"token|key|secret|pass|pwd|credential", re.IGNORECASE)
_ASSIGNED = re.compile(r"([^=\s/]+)=(.*)", re.DOTALL)
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")


def is_secret(name: str) -> bool:
    """Whether a value with this name may be a secret."""
    return _SECRET.search(name) is not None


def redacted(words: Sequence[str]) -> list[str]:
    """Return the words of a command line without values of secrets.

    These are the values in `NAME=value` and `--name=value`, and the word after an option, if the name contains TOKEN,
    KEY, SECRET, PASS, PWD or CREDENTIAL in any case; and a user with a password in an address.
    """
    shown: list[str] = []
    hides_next = False
    for word in words:
        named = _ASSIGNED.fullmatch(word)
        if hides_next and not word.startswith("-"):
            shown.append(HIDDEN)
        elif named is not None and is_secret(named[1]):
            shown.append(f"{named[1]}={HIDDEN}")
        else:
            shown.append(_IN_ADDRESS.sub(HIDDEN, word))
        hides_next = word.startswith("-") and named is None and is_secret(word)
    return shown
