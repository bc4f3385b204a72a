"""Compare what a user reads with golden files: `golden(text)` in a test, `--update-golden` on the command line.

A test's golden file is `tests/golden/<its module>/<its name>.txt`. It holds all that the test compares, in order: one
text as it is, several under a line with their labels. `pytest --update-golden` writes the files of the tests that it
runs and removes those that belong to no test; look at `git diff` then. Without it a difference fails the test, and a
file that belongs to no test fails the collection of its module.

What varies from run to run is replaced by a placeholder, here for all tests: see `Golden.normalised`.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
import shlex
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import OrchestratorError

TESTS = Path(__file__).parent
FOLDER = TESTS / "golden"
HEADING = "########## "
DURATION = r"(?:\d+(?:\.\d)? s\b|\d+ min \d\d s|\d+ h \d\d min|\d+ d \d\d h)"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what tests see into their golden files")


class Golden:
    """The texts of one test: `golden(text, label)` compares one with the file, or collects it to be written."""

    def __init__(self, item: pytest.Function) -> None:
        self.item = item
        self.path = file_of(item)
        self.updates = item.config.getoption("--update-golden")
        self.kept = read(self.path) if self.path.exists() else {}
        self.seen: dict[str, str] = {}
        self.replacements: dict[str, str] = {}

    def __call__(self, shown: Any, label: str = "", *, exact: bool | None = None) -> None:
        """Compare one thing that a user reads.

        Parameters
        ----------
        shown : Any
            A text; the outcome of a command, with its exit code and both streams; an exception; anything else as JSON.
        label : str, default ""
            The heading of this text; without one it is numbered. A label that comes again asks for the same text.
        exact : bool, optional
            Whether times, keys made of them, processes and tokens are compared, too, or replaced by placeholders.
            By default they are, but not in the outcome of a command whose class says `exact = False`.

        Raises
        ------
        Failed
            When the golden file has another text.
        """
        __tracebackhide__ = True
        if exact is None:
            exact = getattr(shown, "exact", True)
        text = self.normalised(as_text(shown), exact=exact)
        label = label or str(len(self.seen) + 1)
        if label in self.seen:
            self._compare(self.seen[label], text, label, f"{label} seen before")
        elif not self.updates:
            self._compare(self.kept.get(label, ""), text, label, str(self.path.relative_to(TESTS.parent)))
        self.seen[label] = text

    @contextlib.contextmanager
    def raises(
        self, kind: type[Exception], label: str = "", *, exact: bool = True
    ) -> Iterator[pytest.ExceptionInfo[Exception]]:
        """Expect an exception, and compare its type, its message and what it says to do next."""
        __tracebackhide__ = True
        with pytest.raises(kind) as caught:
            yield caught
        self(caught.value, label, exact=exact)

    def replace(self, varying: object, placeholder: str) -> None:
        """Write a placeholder for whole words that vary, such as `job 7`, from here on."""
        self.replacements[str(varying)] = f"<{placeholder}>"

    def normalised(self, text: str, *, exact: bool = True) -> str:
        """Replace what varies: folders, the Python that runs, what the test named, and more where it is not exact."""
        folders = {
            self.item.funcargs.get("tmp_path"): "<tmp>",
            current_folder(): "<workspace>",
            self.item.funcargs.get("workspace"): "<workspace>",
            TESTS.parent: "<repository>",
            Path(sys.executable): "<python>",
        }
        paths = {str(folder): placeholder for folder, placeholder in folders.items() if folder is not None}
        for varying, placeholder in sorted((self.replacements | paths).items(), key=lambda pair: -len(pair[0])):
            text = re.sub(rf"(?<!\w){re.escape(varying)}(?!\w)", placeholder, text)
        text = re.sub(r"\b[0-9a-f]{64}\b", "<digest>", text)
        text = re.sub(r"\.[0-9a-f]{8}\.sh\b", ".<digest>.sh", text)
        # What Python shows of a frame differs between its versions.
        text = re.sub(r"(Traceback \(most recent call last\):\n)(?:  .*\n)+", r"\1  <frames>\n", text)
        if not exact:
            text = re.sub(rf" *(?<![\w.]){DURATION}", " <duration>", text)
            # The time in the queue of a cluster is shown if it was long.
            text = text.replace(", of which <duration> in the queue", "")
            text = re.sub(r"<duration> <duration>$", "<duration>", text, flags=re.MULTILINE)
            text = re.sub(r"( +QUEUE)? +TIME\b", " TIME", text)
            text = re.sub(r"\b(?:\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?|\d\d:\d\d:\d\d)\b", "<time>", text)
            text = re.sub(r"\b\d{10}\b", "<key>", text)
            text = re.sub(r"\bprocess \d+\b", "process <pid>", text)
            text = re.sub(r"(\bprocess (?:\d+|<[^>]*>) on )[\w.-]+", r"\1<host>", text)
            text = re.sub(r"\bjob [a-z2-7]{10}\b", "job <token>", text)
        return text

    def finish(self) -> None:
        """Write the file, or fail when it holds a text that the test did not compare."""
        __tracebackhide__ = True
        if self.updates:
            write(self.path, self.seen)
        elif unread := self.kept.keys() - self.seen.keys():
            pytest.fail(f"{self.path} holds what the test does not compare: {', '.join(unread)}\n{self._to_type()}")

    def _compare(self, expected: str, text: str, label: str, name: str) -> None:
        __tracebackhide__ = True
        if text != expected:
            lines = (expected.splitlines(keepends=True), text.splitlines(keepends=True))
            diff = "".join(difflib.unified_diff(*lines, name, f"what the test sees now: {label}"))
            pytest.fail(f"{diff}\n{self._to_type()}")

    def _to_type(self) -> str:
        node = shlex.quote(self.item.nodeid)
        return f"If this is as it should be, type: .venv/bin/python -m pytest --update-golden {node}"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare what the test shows with its golden file."""
    return Golden(request.node)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    # In the test's own phase: its failure is the test's, and a test that has failed writes nothing.
    result = yield
    if isinstance(item, pytest.Function) and isinstance(golden := item.funcargs.get("golden"), Golden):
        golden.finish()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report golden files without a test; all tests of a module are known here, also if only one of them will run."""
    report = yield
    if isinstance(collector, pytest.Module) and report.passed:
        items = [item for item in report.result if isinstance(item, pytest.Function)]
        paths = [file_of(item) for item in items if "golden" in item.fixturenames]
        unread = set(folder_of(collector).glob("*.txt")) - set(paths)
        if collector.config.getoption("--update-golden"):
            for path in unread:
                path.unlink(missing_ok=True)
        elif unread:
            names = "\n".join(f"  {path}" for path in sorted(unread))
            report.outcome = "failed"
            report.longrepr = f"Golden files that belong to no test:\n{names}\nTo remove them: --update-golden"
        if len(set(paths)) < len(paths):
            report.outcome = "failed"
            report.longrepr = "Two tests would have the same golden file: give their parameters other ids"
    return report


def folder_of(module: pytest.Module) -> Path:
    return FOLDER / module.path.relative_to(TESTS).with_suffix("") if module.path.is_relative_to(TESTS) else FOLDER


def file_of(item: pytest.Function) -> Path:
    module = item.getparent(pytest.Module)
    assert module is not None
    parameters = f".{item.callspec.id}" if hasattr(item, "callspec") else ""
    name = re.sub(r"[^\w.@=+-]+", "-", f"{item.originalname}{parameters}")
    return folder_of(module) / f"{name}.txt"


def current_folder() -> Path | None:
    """Return the current folder, if the test has changed to one of its own."""
    folder = Path.cwd()
    return None if folder == Path("/") or folder.is_relative_to(TESTS.parent) else folder


def as_text(shown: Any) -> str:
    if isinstance(shown, OrchestratorError):
        text = f"{type(shown).__name__}: {shown.message}\nNext: {shown.hint}"
    elif isinstance(shown, BaseException):
        text = f"{type(shown).__name__}: {shown}"
    elif isinstance(shown, str):
        text = shown
    elif hasattr(shown, "stdout") or hasattr(shown, "out"):
        return of_command(shown)
    else:
        text = json.dumps(shown, indent=2, default=str, ensure_ascii=False)
    return text.rstrip("\n") + "\n"


def of_command(done: Any) -> str:
    """Return what a command printed, of whatever class its outcome is: subprocess's, click's, or the tests' own."""
    code, out, err = (
        next((getattr(done, name) for name in names if hasattr(done, name)), None)
        for names in (("code", "exit_code", "returncode"), ("out", "stdout"), ("err", "stderr"))
    )
    text = f"$ {done.command}\n" if hasattr(done, "command") else ""
    text += "" if code is None else f"[exit code {code}]\n"
    for name, stream in (("stdout", out), ("stderr", err)):
        if stream:
            assert stream.endswith("\n"), f"{name} does not end with a line break: {stream[-80:]!r}"
            text += f"[{name}]\n{stream}"
    return text


def read(path: Path) -> dict[str, str]:
    """Read a golden file: each label with its text."""
    text = path.read_text(encoding="utf-8")
    if not text.startswith(HEADING):
        return {"1": text}
    parts = re.split(rf"^{HEADING}(.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.removesuffix("\n") for part in parts[2::2]), strict=True))


def write(path: Path, texts: dict[str, str]) -> None:
    """Write a golden file, or remove it when there is nothing to hold."""
    if not texts:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if list(texts) == ["1"]:
        path.write_text(texts["1"], encoding="utf-8")
    else:
        parts = (f"{HEADING}{label}\n{text}\n" for label, text in texts.items())
        path.write_text("".join(parts), encoding="utf-8")
