"""Text that is not Unicode, and text that is too long."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text import clean, did_you_mean, is_clean, shortened, to_bytes

any_text = st.text(st.characters() | st.sampled_from("\0\ud800\udce9"))


@given(any_text)
def test_a_cleaned_text_can_be_written_anywhere_and_is_changed_only_if_it_must_be(text):
    cleaned = clean(text)
    assert is_clean(cleaned)
    assert "\0" not in cleaned.encode().decode()
    assert (cleaned == text) == is_clean(text)


def test_what_is_replaced_can_be_read():
    assert clean("caf\udce9 \0 é") == "caf\\udce9 \\x00 é"


@given(any_text)
def test_every_text_has_bytes_and_a_path_its_own(text):
    assert os.fsdecode(to_bytes(os.fsdecode(b"caf\xe9"))) == os.fsdecode(b"caf\xe9")
    assert not is_clean(text) or to_bytes(text) == text.encode()
    to_bytes(text)


def test_of_a_long_text_the_middle_is_left_out_and_that_is_said():
    text = "a" * 500 + "b" * 49_999_000 + "c" * 500
    assert shortened(text, 1000) == "a" * 500 + "\n... 49999000 characters left out ...\n" + "c" * 500
    assert shortened(text[:1000], 1000) == text[:1000]


def test_a_similar_word_is_asked_for_and_no_other():
    assert did_you_mean("simulat", ["create", "simulate"]) == "Did you mean simulate? "
    assert did_you_mean("zzz", ["create", "simulate"]) == ""
