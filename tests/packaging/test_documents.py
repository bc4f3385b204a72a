"""The documents agree with the code."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.cli.main import COMMANDS
from orchestrator.machine.states import MOVES, FailureKind, JobState, RunState, StepRunState

ROOT = Path(__file__).resolve().parents[2]
STATES = ROOT / "docs" / "concepts" / "states.md"
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def state_diagram(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "state-diagram", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_state_diagrams_are_those_of_the_code():
    done = state_diagram("--check", STATES)
    assert done.returncode == 0, done.stderr


def test_a_diagram_has_every_arrow_and_every_end():
    lines = STATES.read_text(encoding="utf-8").partition("## Job\n")[2].split("```")[1].splitlines()
    assert lines[:3] == ["mermaid", "stateDiagram-v2", "    [*] --> planned"]
    assert "    running --> lost" in lines
    assert "    lost --> [*]" in lines
    assert "    queued --> [*]" not in lines
    assert len(lines) == 3 + sum(map(len, MOVES[JobState].values())) + 4


def test_every_state_and_kind_of_failure_is_explained():
    explained = re.findall(r"^\| `(\w+)` \| (?:[A-Z][^|]+\.) \|$", STATES.read_text(encoding="utf-8"), re.MULTILINE)
    assert explained == [*RunState, *StepRunState, *JobState, *FailureKind]


def test_a_stale_state_diagram_is_found_and_replaced(tmp_path):
    document = tmp_path / "states.md"
    shutil.copy(STATES, document)
    document.write_text(document.read_text().replace("planned --> submitting", "planned --> lost"))

    stale = state_diagram("--check", document)
    assert stale.returncode == 1
    assert f"scripts/state-diagram --write {document}" in stale.stderr

    assert state_diagram("--write", document).returncode == 0
    assert document.read_text() == STATES.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_have_a_target(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_a_heading_have_one(document):
    for target, heading in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", document.read_text(encoding="utf-8")):
        assert heading in headings(document.parent / target if target else document), target


def headings(document: Path) -> list[str]:
    """Return the names by which links name the headings of a document."""
    found = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_name_exist(document):
    named = re.findall(
        r"`((?:orchestrator|migrations|scripts|tests|docs)/[\w./-]*)`", document.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


INSTALLING = re.compile(r"\b(?:pip|pipx|uv|conda|mamba|poetry|pdm)\b[^\n]*\b(?:install|add)\b([^\n`]*)")


def named_to_install(text: str) -> list[str]:
    """Return the names of distributions in the commands of a text that install some."""
    words = [
        word.strip("'\"(),.;:") for command in INSTALLING.findall(text) for word in command.partition("#")[0].split()
    ]
    return [re.split(r"[\[<>=~!@]", word)[0] for word in words]


def test_no_command_to_type_installs_the_other_project_named_orchestrator():
    assert "orchestrator" in named_to_install("Type: pip install --upgrade 'orchestrator[hydra]>=1'")
    texts = [*DOCUMENTS, *(ROOT / "tests" / "golden").rglob("*.txt")]
    for folder in ("orchestrator", "scripts", ".ci", "migrations"):
        texts += [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    installed = {path: named_to_install(path.read_text(encoding="utf-8")) for path in texts}
    assert "slurm-orchestrator" in installed[ROOT / "README.md"]
    assert [str(path.relative_to(ROOT)) for path, names in installed.items() if "orchestrator" in names] == []


def test_the_functions_that_the_architecture_names_are_in_their_files():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walks = re.findall(r"`(orchestrator/[\w/]+\.py)` · `([\w.]+)`", " ".join(text.split()))
    assert len(walks) > 20
    assert [f"{file}: {name}" for file, name in walks if name not in names_defined_in(ROOT / file)] == []


ROWS = re.findall(
    r"^\| ([^|]+) \| (`orchestrator/[^|]+) \| ([^|]+) \|$",
    (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
"""Question, files and names of each row of the map; a second file may be named without the folder of the first."""


def test_each_answer_of_the_map_is_in_its_file():
    wrong = []
    for _, files, names in ROWS:
        first, *others = re.findall(r"`([\w./]+)`", files)
        paths = [ROOT / first, *(ROOT / name if "/" in name else (ROOT / first).parent / name for name in others)]
        known = [names_in(path) for path in paths]
        wanted = re.findall(r"`([\w.]+)`", names)
        wrong += [f"{files}: {name}" for name in wanted if not any(name in found for found in known)]
        wrong += [f"{path.name}: none" for path, found in zip(paths, known, strict=True) if not found & {*wanted}]
    assert len(ROWS) > 200
    assert wrong == []


def test_each_function_of_the_map_says_its_rule():
    silent = set()
    for _, files, names in ROWS:
        wanted = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", names)}
        for file in re.findall(r"`(orchestrator/[\w/]+\.py)`", files):
            for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
                is_function = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in wanted
                silent |= {f"{file}: {node.name}"} if is_function and not ast.get_docstring(node) else set()
    assert silent == set()


def test_no_question_of_the_map_is_there_twice():
    assert [question for question, n in Counter(question for question, *_ in ROWS).items() if n > 1] == []


def names_in(file: Path) -> set[str]:
    """Return the names of a module, or all words of another file."""
    text = file.read_text(encoding="utf-8")
    return names_defined_in(file) if file.suffix == ".py" else set(re.findall(r"\w+", text))


def test_the_modules_that_the_code_names_exist():
    unknown = []
    for file in sorted((ROOT / "orchestrator").rglob("*.py")):
        for name in re.findall(r"`(orchestrator(?:\.\w+)+)`", file.read_text(encoding="utf-8")):
            path = ROOT / name.replace(".", "/")
            if not (path.is_dir() or path.with_suffix(".py").exists() or is_defined(path)):
                unknown.append(f"{file.relative_to(ROOT)}: {name}")
    assert unknown == []


def is_defined(path: Path) -> bool:
    """Whether a path such as `orchestrator/host/adopt_orphans` is that of a name in a module."""
    module = path.parent.with_suffix(".py")
    return module.exists() and path.name in names_defined_in(module)


def names_defined_in(file: Path) -> set[str]:
    """Return the functions, classes, methods and variables of a module."""
    names: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_documents_compiles(document):
    for number, code in enumerate(python_blocks(document)):
        compile(code, f"{document.name}[{number}]", "exec")


def python_blocks(document: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)


SAME_NAME = {"errors", "factory", "tail", "workspace"}
"""Modules of two folders that do the same for what their folder is about."""


def test_a_module_has_a_name_that_only_a_command_has_too():
    modules = [file for file in sorted((ROOT / "orchestrator").rglob("*.py")) if not file.stem.startswith("__")]
    names = Counter(file.stem for file in modules)
    assert {name for name, n in names.items() if n > 1} - set(COMMANDS) <= SAME_NAME


def test_the_guide_for_contributors_names_each_module_beside_the_folders():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    modules = sorted(file.name for file in (ROOT / "orchestrator").glob("[a-z]*.py"))
    assert [name for name in modules if f"orchestrator/{name}" not in guide and name != "version.py"] == []


def test_each_module_says_what_it_is_about():
    silent = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "orchestrator").rglob("*.py"))
        if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) and file.name != "__main__.py"
    ]
    assert silent == []
