r"""Text of others on a terminal: escape sequences are shown, not sent.

Messages, names and output of the user's code, of files and of SLURM may contain control characters. Sent to a terminal,
they could change its title or its clipboard, or hide a part of the text.
"""

from __future__ import annotations

from typing import Any

__all__ = ["visible", "visible_values"]

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control and format characters, lone surrogates, and separators of lines and paragraphs."""


def visible(text: str) -> str:
    r"""Return a text with its control and format characters, except newline and tab, as escapes.

    Examples
    --------
    >>> print(visible("\x1b[2Jdone\u202e"))
    \x1b[2Jdone\u202e
    """
    if text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    from unicodedata import category  # few texts have such characters

    if category(character) not in _HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def visible_values(value: Any) -> Any:
    """Return a view with `visible` applied to each text in it: in named tuples, tuples, lists and mappings."""
    if type(value) is str:
        return visible(value)
    if isinstance(value, tuple):
        inner = map(visible_values, value)
        return value._make(inner) if hasattr(value, "_make") else tuple(inner)
    if isinstance(value, list):
        return [visible_values(item) for item in value]
    if isinstance(value, dict):
        return {visible_values(name): visible_values(item) for name, item in value.items()}
    return value
