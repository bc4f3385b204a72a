"""The file in which a task says what it evaluates, damaged in any way: nothing is believed that can't be."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.handoff.manifest import Entry
from orchestrator.worker.running import Cut, Running, read_cuts, read_progress, read_together
from tests.damage import IN_ITS_PLACE, JSON_VALUES, put_in_place

NUMBERS = st.sampled_from([b"-1", b"0", b"7", b"9" * 18, b"9" * 19, b"9" * 5000, b"1e3", b"nan", b"inf", b"\xff", b""])


@st.composite
def damaged(draw, content):
    kind = draw(st.sampled_from(["byte", "cut", "words", "line"]))
    at = draw(st.integers(0, len(content) - 1))
    if kind == "byte":
        return content[:at] + draw(st.binary(max_size=2)) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "words":
        first, *lines = content.splitlines()
        words = [draw(NUMBERS) if draw(st.booleans()) else word for word in first.split()]
        return b"\n".join([b" ".join(words), *lines])
    cut = [[draw(JSON_VALUES), draw(JSON_VALUES)], draw(JSON_VALUES), draw(JSON_VALUES), draw(JSON_VALUES)]
    return content + json.dumps(draw(st.sampled_from([cut, [draw(JSON_VALUES)]]))).encode() + b"\n"


def whole(folder):
    file = Running(folder / ".orchestrator" / "running" / "0.0.1")
    file.count(3, 1)
    file.begin([Entry(4, "a", {}, {}), Entry(5, "b", {}, {})], 0)
    file.add_cut(Cut((4, "a"), "crashed", "it died", 20))
    file.begin([Entry(5, "b", {}, {})], 20)
    file.close()
    return folder / ".orchestrator" / "running" / "0.0.1"


def test_damaged_numbers_are_left_out(tmp_path):
    path = whole(tmp_path)
    content = path.read_bytes()
    assert read_progress(path) == (3, 1, True)

    @given(damaged(content))
    def check(damage):
        path.write_bytes(damage)
        progress = read_progress(path)
        assert progress is None or all(0 <= n < 2**63 for n in progress[:2])
        for cut in read_cuts(path, "lost", "it was lost"):
            assert abs(cut.key[0]) < 2**63
            assert isinstance(cut.kind, str)
            assert isinstance(cut.why, str)
            assert cut.log_begin is None or 0 <= cut.log_begin < 2**63
        assert all(abs(row) < 2**63 for row in read_together(path))

    check()


def test_something_else_in_its_place_says_nothing(tmp_path):
    path = whole(tmp_path)
    for name in IN_ITS_PLACE:
        put_in_place(name, path)
        assert read_progress(path) is None
        assert read_cuts(path, "lost", "it was lost") == []
        assert read_together(path) == []
