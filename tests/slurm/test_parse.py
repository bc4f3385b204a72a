"""Captured output of SLURM 22.05: it is read completely, or an error is raised."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.machine.answers import Accepted
from orchestrator.slurm.messages import judge
from orchestrator.slurm.parse import (
    FIELD,
    MEMORY_FIELDS,
    RECORD,
    Line,
    config_values,
    peak_memory,
    sacct_lines,
    seen_by_id,
    squeue_lines,
    submitted_id,
    token_of_name,
)

CAPTURED = Path(__file__).resolve().parents[1] / "fixtures" / "slurm"
IRREGULAR = (2, 9, 12, 22, 26, 29, 30, 31, 35, 44, *range(50, 61), 70, 81, 83, 85, 87, 89, *range(91, 96), 105, 110)
IRREGULAR += (120, 121, 122)
HEADER = RECORD + FIELD.join(["JOBID", "STATE", "REASON", "START_TIME", "END_TIME", "NAME"]) + "\n"


def captured(name):
    return (CAPTURED / name).read_text()


def record(*fields):
    return RECORD + FIELD.join(fields) + "\n"


def only(lines, job, index=None):
    (line,) = [line for line in lines if line.job_id == job and (index is None or index in (line.indexes or ()))]
    return line


# --- sbatch --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("647\n", "647"),
        ("649;mini\n", "649"),
        ("Welcome to the cluster!\nYou have 3 jobs\n647\n", "647"),
        ("12\nyour quota: 80 %\n13;big\nbye\n", "13"),
        ("Submitted batch job 647\n", None),
        ("647 648\n", None),
        ("-647\n", None),
        ("٦٤٧\n", None),
        ("", None),
        # The rest of the id may be missing.
        ("64", None),
        ("12\n64", "12"),
        ("649;mini", None),
        ("649;mini\r\n", "649"),
        ("9" * 5000 + "\n", None),
    ],
)
def test_the_job_id_is_found_among_other_lines_of_a_cluster(text, found):
    assert submitted_id(text) == found


# --- squeue --------------------------------------------------------------------------------------


def test_every_line_of_squeue_is_read():
    lines = squeue_lines(captured("squeue.txt"))
    assert len(lines) == 21
    assert only(lines, "47").indexes == tuple(range(1, 400, 2))
    assert only(lines, "48").indexes == IRREGULAR
    ended = ("CANCELLED", "JobHeldUser", "oneaaaaaa2", 1795574502.0, 1795574502.0)
    assert only(lines, "49") == Line("49", (7,), *ended, name="one_oneaaaaaa2_pipe", comment="oneaaaaaa2")
    assert only(lines, "61", 3).indexes == (3, 4)
    assert {line.state for line in lines if line.job_id == "61"} == {"CANCELLED", "RUNNING", "PENDING"}
    assert only(lines, "45", 2).reason == "NonZeroExitCode"
    assert only(lines, "54").reason == "PartitionNodeLimit"
    assert [line.indexes for line in lines if line.job_id == "52"] == [None, None]


def test_times_that_slurm_only_expects_are_ignored():
    lines = squeue_lines(captured("squeue.txt"))
    running, waiting, over = only(lines, "46"), only(lines, "56"), only(lines, "55")
    assert (running.started_at, running.ended_at) == (1795574498.0, None)
    assert (waiting.started_at, waiting.ended_at) == (None, None)
    assert (over.started_at, over.ended_at) == (1795574498.0, 1795574498.0)


def test_names_with_line_breaks_hide_no_record():
    lines = squeue_lines(captured("squeue.txt"))
    assert only(lines, "50").name == "nl\nx|y"
    assert only(lines, "50").token == ""
    assert only(lines, "46").token == "limitaaaa2"
    forged = record("1", "PENDING", "None", "N/A", "N/A", "x\n2\x1fRUNNING\x1fNone\x1f1\x1f2\x1fx_abcdefghij_y")
    assert [line.job_id for line in squeue_lines(HEADER + forged)] == ["1"]


def test_a_job_is_found_by_its_name_alone():
    (line,) = squeue_lines(HEADER + record("5", "PENDING", "None", "N/A", "N/A", "loop1_run_abcdefghi2_my_pipe"))
    assert line.token == "abcdefghi2"


def test_the_comment_is_read_if_squeue_was_asked_for_it():
    header = HEADER.replace("NAME", FIELD.join(["NAME", "COMMENT"]))
    name = "loop1_run_abcdefghi2_my_pipe"
    (line,) = squeue_lines(header + record("5", "PENDING", "None", "N/A", "N/A", name, f"a\nb{FIELD}abcdefghi3"))
    assert (line.name, line.comment) == (name, f"a\nb{FIELD}abcdefghi3")
    assert line.other_token({"abcdefghi2", "abcdefghi3"}) == "abcdefghi3"
    assert line.other_token({"abcdefghi3"}) is None
    assert line.other_token({"abcdefghi2"}) is None
    with pytest.raises(ValueError, match="has only 6 fields"):
        squeue_lines(header + record("5", "PENDING", "None", "N/A", "N/A", name))


def test_a_job_is_found_although_a_part_of_its_label_looks_like_a_token():
    (line,) = squeue_lines(HEADER + record("5", "PENDING", "None", "N/A", "N/A", "the_evaluation_abcdefghi2_pipe"))
    assert line.has_token("abcdefghi2")
    assert not line.has_token("pipe")
    assert line.tokens == {"evaluation", "abcdefghi2"}


def test_a_truncated_list_is_not_an_answer(golden):
    for read, name in ((squeue_lines, "squeue_cut.txt"), (sacct_lines, "sacct_cut.txt")):
        with golden.raises(ValueError):
            read(captured(name))
    # As wide as squeue's own column.
    with golden.raises(ValueError):
        squeue_lines(HEADER + record("1128_[2,9,12,22,26,29-31,35,44,", "PENDING", "None", "N/A", "N/A", "x", "y"))


def test_an_empty_list_is_an_answer_but_empty_output_is_not(golden):
    assert squeue_lines(HEADER) == []
    assert squeue_lines("CLUSTER: a\n" + HEADER + "CLUSTER: b\n" + HEADER) == []
    assert squeue_lines("The cluster will be down on Monday.\n" + HEADER) == []
    for text in ("", "\n", "The cluster is down.\n", "JOBID|STATE\n", record("1", "PENDING", "None", "", "", "", "")):
        with golden.raises(ValueError):
            squeue_lines(text)


def test_every_truncation_of_squeues_output_is_detected_or_harmless():
    text = captured("squeue.txt")
    whole = squeue_lines(text)
    for end in range(len(text)):
        try:
            lines = squeue_lines(text[:end])
        except ValueError:
            continue
        # A line break ends each record: then the records are right, and squeue's exit code says that some are missing.
        assert text[end - 1] == "\n"
        assert [line.job_id for line in lines] == [line.job_id for line in whole[: len(lines)]]


@pytest.mark.parametrize(
    "written_id", ["", "x", "12_", "12_[", "12_[]", "12_[1-]", "12_[1,,2]", "12_[1-3", "12.batch", "1 2"]
)
def test_an_invalid_id_is_not_an_answer(written_id):
    with pytest.raises(ValueError):
        squeue_lines(HEADER + record(written_id, "PENDING", "None", "N/A", "N/A", "x", "y"))


def test_an_invalid_time_is_not_an_answer(golden):
    with golden.raises(ValueError):
        squeue_lines(HEADER + record("1", "RUNNING", "None", "2026-11-25T02:22:15", "N/A", "x", "y"))


# --- sacct ---------------------------------------------------------------------------------------


def test_every_line_of_sacct_is_read():
    lines = sacct_lines(captured("sacct.txt"))
    assert len(lines) == 21
    assert only(lines, "48").indexes == IRREGULAR
    assert only(lines, "51").name == "nl\nx|y"
    assert only(lines, "55") == Line(
        "55", None, "FAILED", "", "nologaaaa2", 1795574498.0, 1795574498.0, "0:53", "nolog_nologaaaa2_pipe"
    )
    assert only(lines, "61", 0).state == "CANCELLED by 0"
    assert only(lines, "45", 2).exit_code == "1:0"
    assert [line.job_id for line in lines].count("61") == 4


def test_only_the_latest_start_of_a_requeued_job_counts():
    lines = sacct_lines(captured("sacct_ended.txt"))
    assert [(line.job_id, line.state) for line in lines if line.job_id == "56"] == [("56", "COMPLETED")]
    assert only(lines, "46").state == "TIMEOUT"
    header = FIELD.join(["JobID", "State", "ExitCode", "Submit", "Start", "End", "JobName"])
    lives = [
        FIELD.join(["56", "RUNNING", "0:0", "1795574500", "1795574521", "Unknown", "x"]),
        FIELD.join(["56", "REQUEUED", "0:0", "1795574498", "1795574498", "1795574499", "x"]),
    ]
    for order in (lives, lives[::-1]):
        (line,) = sacct_lines("\n".join([header, *order, ""]))
        assert (line.state, line.started_at, line.ended_at) == ("RUNNING", 1795574521.0, None)


def test_sacct_output_without_its_header_is_not_an_answer(golden):
    assert sacct_lines("JobID\x1fState\x1fExitCode\x1fSubmit\x1fStart\x1fEnd\x1fJobName\n") == []
    text = captured("sacct.txt")
    for part in ("", text.split("\n", 1)[1], text[:-5], text + "x\x1fy\n"):
        with golden.raises(ValueError):
            sacct_lines(part)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("create_abcdefghi2_pipe", "abcdefghi2"),
        ("loop1_run_abcdefghi2_my_long_pipeline", "abcdefghi2"),
        ("orchestrator_abcdefghij_p", "abcdefghij"),
        ("create_ABCDEFGHI2_pipe", ""),
        ("abcdefghi2", ""),
        ("", ""),
    ],
)
def test_a_token_is_read_from_a_job_name(name, token):
    assert token_of_name(name) == token


def test_a_label_that_looks_like_a_token_does_not_hide_the_token():
    line = Line(
        "1",
        None,
        "RUNNING",
        "",
        token_of_name("loop1_optimising_abcdefghi2_p"),
        None,
        None,
        "",
        "loop1_optimising_abcdefghi2_p",
    )
    assert line.has_token("abcdefghi2")
    assert not line.has_token("abcdefghi3")


# --- configuration -------------------------------------------------------------------------------


def test_the_configuration_is_read():
    text = (
        "Configuration data as of 2026-11-25T02:26:41\nMaxArraySize            = 1001\nMinJobAge   = 10 sec\n"
        "SlurmctldHost[0]        = vm(127.0.0.1)\nEpilog =\nSLURM_CONF = /a = b\n\nSlurmctld(primary) at vm is UP\n"
    )
    assert config_values(text) == {
        "MaxArraySize": "1001",
        "MinJobAge": "10 sec",
        "SlurmctldHost[0]": "vm(127.0.0.1)",
        "Epilog": "",
        "SLURM_CONF": "/a = b",
    }


# --- by chance -----------------------------------------------------------------------------------


@given(st.data())
def test_a_damaged_answer_is_refused_or_read(data):
    name, read = data.draw(st.sampled_from([("squeue.txt", squeue_lines), ("sacct.txt", sacct_lines)]))
    text = captured(name)
    for _ in range(data.draw(st.integers(1, 3))):
        at, n_lost = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 60))
        new = data.draw(
            st.text("0123456789_[]-,:%+;\n\x1e\x1f\x1b\u0663abcINVALID ", max_size=12) | st.text(max_size=4)
        )
        text = text[:at] + new + text[at + n_lost :]
    with suppress(ValueError):
        lines = read(text)
        assert all(0 < int(line.job_id) < 10**18 for line in lines if line.job_id != "0")
        seen_by_id(lines)


@given(st.integers(-15, 255), st.text("0123456789;\n\r \x1b\u0663ab", max_size=30), st.text(max_size=30))
def test_whatever_sbatch_prints_is_an_answer_and_an_id_is_whole(code, out, err):
    answer = judge(code, out, err)
    if isinstance(answer, Accepted):
        assert code == 0
        assert any(line.partition(";")[0] == answer.scheduler_id for line in out.split("\n")[:-1])


@pytest.mark.parametrize("written", ["1_[0-999999999]", "1_[0-9:0]", "1_[9999999999]", "1" * 19])
def test_a_list_that_no_array_has_is_refused(written):
    with pytest.raises(ValueError, match=r"id|index|task|zero"):
        squeue_lines(HEADER + record(written, "PENDING", "None", "N/A", "N/A", "x"))


def test_the_peak_memory_of_a_job_is_that_of_its_largest_process():
    rows = [
        ("12_0", ""),
        ("12_0.batch", "2048K"),
        ("12_0.extern", "0"),
        ("12_1.batch", "204800K"),
        ("13", ""),
        ("13.batch", ""),
        ("14.batch", "1536.50K"),
        ("15+0.batch", "1024K"),
    ]
    header = FIELD.join(MEMORY_FIELDS) + "\n"
    text = header + "".join(FIELD.join(row) + "\n" for row in rows)
    assert peak_memory(text) == {"12": 200.0, "14": 1536.5 / 1024, "15": 1.0}
    assert peak_memory("Loading modules\n" + text) == peak_memory(text)
    assert peak_memory(header) == {}
    with pytest.raises(ValueError, match="no header"):
        peak_memory("Slurm accounting storage is disabled\n")
