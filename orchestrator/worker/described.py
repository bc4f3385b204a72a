"""Put an exception into words that can be kept."""

from __future__ import annotations

import traceback
from pathlib import Path

__all__ = ["described"]

OURS = str(Path(__file__).resolve().parents[1])
LONGEST = 20_000


def described(error: BaseException) -> dict[str, str]:
    """Describe an exception.

    Returns
    -------
    dict of str to str
        `type`, `message` and `traceback`: the last begins where the user's code begins, and is cut in the middle when
        it is longer than 20,000 characters.
    """
    begin = error.__traceback__
    while begin is not None and begin.tb_next is not None and begin.tb_frame.f_code.co_filename.startswith(OURS):
        begin = begin.tb_next
    text = "".join(traceback.format_exception(type(error), error, begin))
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}\n... {len(text) - LONGEST} characters left out ...\n{text[-half:]}"
    return {"type": type(error).__name__, "message": _message(error), "traceback": text}


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # the user's __str__ may raise, too
        text = f"(its message can't be shown: {type(broken).__name__})"
    return text[:LONGEST]
