"""Text from outside: what a program printed, a path, an argument. Such text may contain what is not Unicode.

Python decodes bytes that are not UTF-8, such as a file name in Latin-1, to lone surrogates (``surrogateescape``), which
no file, database or terminal accepts.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["clean", "did_you_mean", "is_clean", "shortened", "to_bytes"]


def is_clean(text: str) -> bool:
    """Whether a text is Unicode, without lone surrogates, and contains no NUL."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean(text: str) -> str:
    """Return a text in which lone surrogates and NUL are replaced by their number in hexadecimal, after a backslash."""
    if is_clean(text):
        return text
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def to_bytes(text: str) -> bytes:
    """Return a text in UTF-8; a path that is not UTF-8 as the bytes that it has on the disk."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # surrogates that no path has
        return clean(text).encode()


def shortened(text: str, longest: int) -> str:
    """Return a text without its middle if it is too long; a line there says how many characters are left out.

    Parameters
    ----------
    text : str
        The text.
    longest : int
        Number of characters that are kept: half of them at the beginning, half at the end.
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the most similar of the known words, and a space after it; empty if none is similar."""
    from difflib import get_close_matches

    similar = get_close_matches(word, list(known), 1)
    return f"Did you mean {similar[0]}? " if similar else ""
