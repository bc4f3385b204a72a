"""A study runs in a worker as it runs in the shell: its modules, their files, its settings, its classes."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import markupsafe._speedups
import pytest

from orchestrator import ExperimentData
from orchestrator.definition.import_context import ImportContext
from orchestrator.definition.modules import module_name_of

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]

HEAD = """
from orchestrator import *
def create(project_dir, n=2):
    domain = Domain()
    domain.add_float("x", low=0.0, high=9.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(i)} for i in range(n)]).store(project_dir)
"""

TAIL = """
pipeline = Pipeline("p", [Step(create), Step(evaluate, name="evaluate", parallel=True)])
"""

GUARD = """
if __name__ == "__main__":
    pipeline.run(project_job="r", jobs=1)
"""


@dataclass
class Shell:
    """Writes files and types commands in a folder."""

    folder: Path

    def write(self, **texts: str) -> None:
        """Write modules; `__` in a name stands for a slash."""
        for name, text in texts.items():
            path = self.folder / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def __call__(self, *words: str, code: int | None = 0, stdin: str = "", cwd: Path | None = None, **environment: str):
        """Type `python ...`; return what was printed."""
        done = subprocess.run(
            [sys.executable, *words],
            input=stdin,
            capture_output=True,
            text=True,
            cwd=cwd or self.folder,
            env={**os.environ, "PYTHONPATH": "", **environment},
        )
        assert code in (None, done.returncode), done.stdout + done.stderr
        return done.stdout + done.stderr

    def orchestrator(self, *words: str, **more) -> str:
        return self("-m", "orchestrator", *words, **more)

    def outputs(self, key: str = "r") -> list[object]:
        return [sample.output_data.get("y") for _, sample in ExperimentData.from_file(self.folder / key)]

    def why(self, key: str = "r") -> list[str]:
        status = json.loads(self.orchestrator("status", key, "--json"))
        return [failure["why"] for failure in status["failures"]]


@pytest.fixture
def shell(workspace):
    return Shell(workspace)


EVALUATE = '@datagenerator(output_names="y")\ndef evaluate(x):\n    return {}\n'


def study(value: str, *, before: str = "", after: str = GUARD) -> str:
    return HEAD + textwrap.dedent(before) + EVALUATE.format(value) + TAIL + textwrap.dedent(after)


BOTH = pytest.mark.parametrize(
    "command", [["study.py"], ["-m", "orchestrator", "run", "study.py", "--project-job", "r"]]
)


@BOTH
def test_settings_made_when_the_study_is_imported_hold_in_a_worker(shell, command):
    shell.write(
        study=study("len(str(decimal.Decimal(1) / 3)) - 2", before="import decimal\ndecimal.getcontext().prec = 50\n")
    )
    shell(*command)
    assert shell.outputs() == [50, 50]


@BOTH
@pytest.mark.parametrize(
    "decorators", ["@functools.lru_cache", "@functools.cache\n@functools.lru_cache(maxsize=None)", "@plain"]
)
def test_the_function_of_an_experiment_may_have_other_decorators(shell, command, decorators):
    before = "import functools\ndef plain(f):\n    return functools.wraps(f)(lambda *a, **k: f(*a, **k))\n"
    text = study("x + 1", before=before).replace("def evaluate", f"{decorators}\ndef evaluate")
    shell.write(study=text)
    shell(*command)
    assert shell.outputs() == [1.0, 2.0]


@BOTH
def test_an_experiment_uses_the_objects_that_its_study_makes_when_it_is_imported(shell, command):
    """And no copy of those of the process that submits, some of which can't be copied."""
    shell.write(study=study("GUARD.locked()", before="import threading\nGUARD = threading.Lock()\n"))
    shell(*command)
    assert shell.outputs() == [False, False]


@BOTH
def test_modules_are_found_where_they_are(shell, command):
    """In a folder that the study adds, without __init__.py, compiled, in an archive; with the files beside them."""
    shell.write(
        lib__group="from pathlib import Path\ndef a(): return Path(__file__).with_name('a.txt').read_text()\n",
        loose__part="def b(): return 'b'\n",
        data__package____init__="",
    )
    (shell.folder / "lib" / "a.txt").write_text("a")
    package = shell.folder / "kit"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from importlib.resources import files\ndef c(): return (files(__package__) / 'c.txt').read_text()\n"
    )
    (package / "c.txt").write_text("c")
    with zipfile.ZipFile(shell.folder / "archive.zip", "w") as archive:
        archive.writestr("inzip.py", "def d(): return 'd'\n")
    compiled = Path(markupsafe._speedups.__file__)
    shutil.copy(compiled, shell.folder / compiled.name)
    before = """
        import sys
        from pathlib import Path
        HERE = Path(__file__).resolve().parent
        sys.path[:0] = [str(HERE / "lib"), str(HERE / "archive.zip")]
        import group, loose.part, kit, inzip, _speedups
    """
    parts = "group.a() + loose.part.b() + kit.c() + inzip.d() + 'e' * _speedups.__file__.startswith(str(HERE))"
    shell.write(study=study(parts, before=before))
    shell(*command)
    assert shell.outputs() == ["abcde", "abcde"]


CLASSES = """
    import enum, functools, multiprocessing, pickle
    class Mode(enum.Enum):
        SLOW = 1
    class Model:
        registry = {}
        def __init_subclass__(cls): Model.registry[cls.__name__] = cls
    class Small(Model):
        pass
    @functools.lru_cache
    def mesh(): return [1.0]
    def cube(v): return v**3
    def check():
        with multiprocessing.Pool(2) as pool, multiprocessing.get_context("spawn").Pool(1) as spawned:
            assert pool.map(cube, [2]) == spawned.map(cube, [2]) == [8]
        assert type(pickle.loads(pickle.dumps(Small()))) is Small is Model.registry["Small"]
        assert pickle.loads(pickle.dumps(Mode.SLOW)) is Mode.SLOW
        return mesh()[0]
"""


@BOTH
@pytest.mark.parametrize("name", ["study", "my-study", "test"])
def test_what_a_study_defines_can_be_pickled_in_a_worker(shell, command, name):
    """Also if its file's name is that of no module, or of a module of Python."""
    (shell.folder / f"{name}.py").write_text(study("check()", before=CLASSES))
    shell(*[word.replace("study.py", f"{name}.py") for word in command])
    assert shell.outputs() == [1.0, 1.0]


OBJECTS = """
    class Model:
        slope = 2.0
    class Evaluate(DataGenerator):
        def execute(self, experiment_sample):
            experiment_sample.store("y", Model(), to_disk=True)
            return experiment_sample
    evaluate = Evaluate()
    def report(project_dir):
        for _, sample in ExperimentData.from_file(project_dir):
            assert isinstance(sample.output_data["y"], Model)
    steps = lambda p: [Step(create), Step(evaluate, name="evaluate", parallel=p), Step(report)]
"""


@BOTH
@pytest.mark.parametrize("is_parallel", [True, False])
def test_an_object_on_disk_is_loaded_by_a_later_step_and_by_a_script(shell, command, is_parallel):
    pipeline = f'pipeline = Pipeline("p", steps({is_parallel}))\n'
    shell.write(study=HEAD + textwrap.dedent(OBJECTS) + pipeline + GUARD)
    shell(*command)
    loaded = "import study\nfrom orchestrator import ExperimentData\n"
    loaded += "print([type(s.output_data['y']) is study.Model for _, s in ExperimentData.from_file('r')])"
    assert "[True, True]" in shell("-c", loaded)


SPAWNED = """
    import multiprocessing
    def square(queue, v): queue.put(v**2)
    def in_child(v):
        context = multiprocessing.get_context("spawn")
        queue = context.SimpleQueue()
        child = context.Process(target=square, args=(queue, v))
        child.start()
        child.join()
        return child.exitcode or queue.get()
"""


@pytest.mark.parametrize("words", [["link.py"], ["-P", "study.py"]])
def test_an_experiment_starts_processes_in_a_study_that_cannot_be_imported_by_name(shell, words):
    shell.write(elsewhere__study=study("in_child(x)", before=SPAWNED))
    (shell.folder / "study.py" if "-P" in words else shell.folder / "link.py").symlink_to("elsewhere/study.py")
    shell(*words)
    assert shell.outputs() == [0.0, 1.0]


def test_values_that_the_main_guard_sets_are_those_of_the_running_script(shell):
    guard = """
        if __name__ == "__main__":
            FACTOR, unused = 3, open(__file__)
            class Later:
                power = 2
            pipeline.run(project_job="r", jobs=1)
    """
    shell.write(study=study("FACTOR * x**Later.power", before="FACTOR = 1\n", after=guard))
    shell("study.py")
    assert shell.outputs() == [0.0, 3.0]


def test_a_script_may_run_one_pipeline_after_the_other(shell):
    """What it defines after the first run is there in the workers of the second, though importing ends before."""
    after = 'pipeline.run(project_job="first", jobs=1)\nOFFSET = 10\n'
    second = EVALUATE.format("OFFSET + x").replace("def evaluate", "def second")
    run = 'Pipeline("q", [Step(create), Step(second, name="second", parallel=True)]).run(project_job="r", jobs=1)\n'
    shell.write(study=study("x", after=after + second + run))
    shell("study.py")
    assert shell.outputs("first") == [0.0, 1.0]
    assert shell.outputs() == [10.0, 11.0]


def test_a_study_may_read_its_arguments_and_files_when_it_is_imported(shell):
    """Also if the run is resumed from another folder."""
    before = """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("--factor", type=float)
        FACTOR = parser.parse_args().factor
        NAME = open("name.txt").read()
    """
    (shell.folder / "name.txt").write_text("a")
    shell.write(
        study=study(
            "NAME * int(FACTOR) if Path('go').exists() else 1 / 0", before=before + "    from pathlib import Path\n"
        )
    )
    shell("study.py", "--factor", "3", code=1)
    elsewhere = shell.folder / "elsewhere"
    elsewhere.mkdir()
    for folder in (shell.folder, elsewhere):
        (folder / "go").touch()
    shell("-m", "orchestrator", "resume", "r", "--rootdir", "..", cwd=elsewhere)
    assert shell.outputs() == ["aaa", "aaa"]


@pytest.mark.parametrize(
    "words", [["study.py"], ["-m", "study"], ["-m", "orchestrator", "run", "study.py", "--project-job", "r"]]
)
def test_a_study_may_change_the_working_folder_when_it_is_imported(shell, words):
    (shell.folder / "work").mkdir()
    go = "import os, orchestrator.loading\nos.chdir('work')\n"
    shell.write(
        study=(go if "-m" in words else go.replace(", orchestrator.loading", ""))
        + study("os.path.basename(os.getcwd())")
    )
    shell(*words)
    assert shell.outputs("r" if "run" in words else "work/r") == ["work", "work"]


OPTIONS = """
    import sys, warnings
    def options():
        try:
            warnings.warn("lost accuracy", RuntimeWarning)
        except RuntimeWarning:
            return sys.flags.optimize
        return "no error"
"""


def test_a_worker_has_the_options_of_the_python_that_runs_the_study(shell):
    shell.write(study=study("options()", before=OPTIONS))
    shell("-O", "-W", "error::RuntimeWarning", "study.py")
    assert shell.outputs() == [1, 1]


def test_warnings_are_errors_in_a_job_as_in_the_shell(shell):
    """The process of a job has its own command line; here, the filters of the submission come with the code."""
    shell.write(
        study=study("options() if Path('go').exists() else 1 / 0", before=OPTIONS + "    from pathlib import Path\n")
    )
    shell("-W", "error:lost:RuntimeWarning", "study.py", code=1)
    (shell.folder / "go").touch()
    shell.orchestrator("resume", "r")
    assert shell.outputs() == [0, 0]


def test_a_study_that_runs_its_pipeline_without_a_guard_runs_once(shell):
    for command in (["study.py"], ["-m", "orchestrator", "run", "study.py"]):
        shell.write(study=study("open('evaluated', 'a').write('.')", after="pipeline.run(jobs=2)\n"))
        shell(*command)
        assert (shell.folder / "evaluated").read_text() == ".."
        (shell.folder / "evaluated").unlink()


def test_a_child_process_of_an_experiment_does_not_run_a_pipeline_without_a_guard_again(shell):
    shell.write(study=study("in_child(x)", before=SPAWNED, after="pipeline.run()\n"))
    shell("study.py")
    [run] = json.loads(shell.orchestrator("list", "--json"))
    assert shell.outputs(run["key"]) == [1, 1]  # the exit code of the child
    assert "Put the call of run or resume under" in shell.orchestrator("logs", "evaluate")


def test_a_pipeline_without_a_name_is_run_by_the_command(shell):
    main = 'def main():\n    Pipeline("p", [Step(create)]).run()\nmain()\n'
    shell.write(study=HEAD + main)
    shell.orchestrator("run", "study.py", "--project-job", "r")
    assert len(shell.outputs()) == 2


def test_a_table_that_a_study_stores_outside_of_functions_is_stored_once(shell):
    before = """
        create("r")
    """
    pipeline = 'pipeline = Pipeline("p", [Step(evaluate, name="evaluate", parallel=True)])\n'
    shell.write(study=HEAD + textwrap.dedent(before) + EVALUATE.format("x") + pipeline)
    shell.orchestrator("run", "study.py", "--project-job", "r", "--jobs", "2")
    assert shell.outputs() == [0.0, 1.0]
    assert "is not stored again" in shell.orchestrator("logs", "r", "evaluate")


HELPER = """
    import os
    def value():
        if not os.path.exists("go"): raise ValueError("no")  # as it was
        return "old"
"""


def test_a_run_uses_the_code_that_it_was_started_with(shell):
    """Also when a module is gone; a traceback shows the text that ran; the changed files are named."""
    shell.write(
        helper=HELPER,
        other="x = 1\n",
        study=study("helper.value()", before="import helper, other\n"),
    )
    shell("study.py", code=1)
    shell.write(helper="def value():\n    return 'new'\n", other="x = 2\n")
    (shell.folder / "study.py").unlink()
    printed = shell.orchestrator("resume", "r", code=1)
    assert f"{shell.folder}/helper.py, {shell.folder}/other.py have changed since" in printed
    assert "# as it was" in shell.orchestrator("logs", "r", "evaluate")
    (shell.folder / "go").touch()
    (shell.folder / "helper.py").unlink()
    shell.orchestrator("resume", "r")
    assert shell.outputs() == ["old", "old"]


def test_a_worker_compiles_no_module_that_has_not_changed(shell):
    before = """
        import sys
        compiled = list()
        sys.addaudithook(lambda event, args: compiled.append(args[1]) if event == "compile" else None)
        import helper
    """
    value = "helper.__file__ in compiled if Path('go').exists() else 1 / 0"
    shell.write(helper="x = 1\n", study=study(value, before="from pathlib import Path\n" + textwrap.dedent(before)))
    (shell.folder / "go").touch()
    shell("study.py", PYTHONDONTWRITEBYTECODE="")
    assert shell.outputs() == [False, False]
    (shell.folder / "go").unlink()
    shell.orchestrator("run", "study.py", "--project-job", "s", code=1)
    shell.write(helper="x = 2\n")
    (shell.folder / "go").touch()
    shell.orchestrator("resume", "s")
    assert shell.outputs("s") == [True, True]


def test_a_worker_does_not_compile_the_study(shell):
    """Python keeps no bytecode of a script, so each task of an array would compile it."""
    hook = "lambda event, args: event == 'compile' and args[1].endswith('study.py') and Path('compiled').touch()"
    noted = f"import sys\nfrom pathlib import Path\nif '-P' in sys.orig_argv: sys.addaudithook({hook})\n"
    shell.write(hooks__sitecustomize=noted, study=study("1 / int(os.path.exists('go'))", before="import os\n"))
    hooks = str(shell.folder / "hooks")
    shell("study.py", code=1, PYTHONPATH=hooks)
    assert not (shell.folder / "compiled").exists()
    [code] = shell.folder.glob("r/.orchestrator/bundle/*/study.code")
    code.write_bytes(b"damaged")
    (shell.folder / "go").touch()
    shell.orchestrator("resume", "r", PYTHONPATH=hooks, code=1)
    assert f"{code} was changed after it was written" in shell.orchestrator("logs", "r", "evaluate")
    shell.orchestrator("resume", "r", "--update", "study.py", PYTHONPATH=hooks)
    assert shell.outputs() == [1.0, 1.0]


def test_an_import_hook_of_a_study_gets_the_code_that_the_run_was_started_with(shell):
    """As those of typeguard and jaxtyping, which change the code of the modules that are imported after it."""
    before = """
        import ast, os, sys
        from importlib.machinery import PathFinder, SourceFileLoader
        class Loader(SourceFileLoader):
            def source_to_code(self, data, path):
                tree = ast.parse(data)
                tree.body += ast.parse("hooked = True").body
                return compile(tree, path, "exec")
        class Hook:
            def find_spec(self, name, path=None, target=None):
                spec = PathFinder.find_spec(name, path, target) if name == "helper" else None
                if spec is not None: spec.loader = Loader(name, spec.origin)
                return spec
        sys.meta_path.insert(0, Hook())
        import helper
    """
    value = "helper.text * helper.hooked if os.path.exists('go') else 1 / 0"
    shell.write(helper="text = 'old'\n", study=study(value, before=before))
    shell("study.py", code=1)
    shell.write(helper="text = 'new!'\n")
    (shell.folder / "go").touch()
    shell.orchestrator("resume", "r")
    assert shell.outputs() == ["old", "old"]


def test_resume_in_a_process_that_has_imported_changed_code_names_the_command(shell):
    shell.write(helper="def value():\n    return 1 / 0\n", study=study("helper.value()", before="import helper\n"))
    shell("study.py", code=1)
    shell.write(helper="def value():\n    return 1\n")
    again = "import study\nstudy.pipeline.resume('r')"
    assert "orchestrator resume r" in shell("-c", again, code=1)


@pytest.mark.parametrize("is_parallel", [True, False])
def test_a_study_that_cannot_be_imported_in_a_worker_fails_the_step_with_its_error(shell, is_parallel):
    before = "import os\nif os.path.exists('broken'):\n    import nowhere\n"
    text = study("1 / 0", before=before)
    shell.write(study=text if is_parallel else text.replace("parallel=True", "parallel=False"))
    shell("study.py", code=1)
    (shell.folder / "broken").touch()
    printed = shell.orchestrator("resume", "r", code=1)
    assert "ModuleNotFoundError: No module named 'nowhere' (study.py can't be imported on" in printed
    assert "import nowhere" in shell.orchestrator("logs", "r", "evaluate")


def test_a_study_in_a_package_is_run_by_its_module_name_and_by_its_file(shell):
    shell.write(pkg____init__="", pkg__functions="def f(x): return x + 1\n")
    (shell.folder / "pkg" / "__init__.py").touch()
    (shell.folder / "pkg" / "study.py").write_text(study("f(x)", before="from .functions import f\n"))
    for number, command in enumerate((["run", "pkg/study.py"], ["run", "pkg.study"], ["run", "pkg.study:pipeline"])):
        shell.orchestrator(*command, "--project-job", str(number))
        assert shell.outputs(str(number)) == [1.0, 2.0]
    shell("-m", "pkg.study")
    assert shell.outputs() == [1.0, 2.0]
    shell("-c", "from pkg.study import pipeline; pipeline.run(project_job='c')")
    shell.orchestrator("resume", "c", "--from-step", "create")
    shell.orchestrator("resume", "c", "--from-step", "create", "--update", "pkg.study")
    assert shell.outputs("c") == [1.0, 2.0]


def test_a_study_on_standard_input_uses_the_modules_beside_it(shell):
    shell.write(helper="def value(): return 5\n")
    shell("-", stdin=study("helper.value() + OFFSET", before="import helper\nOFFSET = 1\n"))
    assert shell.outputs() == [6, 6]


def test_another_python_that_an_experiment_starts_finds_its_own_library(shell):
    value = "os.environ.get('PYTHONPATH', '') + os.environ.get('PYTHONSAFEPATH', '')"
    shell.write(study=study(value, before="import os\n"))
    shell("study.py")
    assert shell.outputs() in (["", ""], [None, None])


def test_a_module_without_a_text_is_named_when_the_run_starts(shell):
    """A job loads it from its place: only its bytecode exists."""
    shell.write(closed="def value(): return 7\n", study=study("closed.value()", before="import closed\n"))
    py_compile.compile(str(shell.folder / "closed.py"), str(shell.folder / "closed.pyc"))
    (shell.folder / "closed.py").unlink()
    assert f"closed has no text to keep; jobs load it from {shell.folder}/closed.pyc" in shell("study.py")
    assert shell.outputs() == [7, 7]


def test_a_new_study_has_its_name_also_if_python_has_listed_its_folder_before(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert find_spec("newstudy") is None
    times = tmp_path.stat()
    (tmp_path / "newstudy.py").touch()
    os.utime(tmp_path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as within the resolution of the clock
    assert module_name_of(str(tmp_path / "newstudy.py")) == "newstudy"


def test_in_another_environment_only_the_users_own_folders_are_taken_over(monkeypatch):
    """The standard library and the packages are those of the Python that runs the job."""
    theirs = ["/home/me/study", "/there/python3.11", "/there/site-packages", "/home/me/lib"]
    context = ImportContext(
        theirs, theirs[1:3], "/home/me", "/home/me", ["study.py", "-v"], "study", "/home/me/study/study.py", []
    )
    monkeypatch.setattr("sys.path", ["/here/python3.11", "/here/site-packages"])
    monkeypatch.setattr("sys.argv", ["worker"])
    context._replace(prefix="/there").restore()
    assert sys.path == ["/home/me/study", "/here/python3.11", "/here/site-packages", "/home/me/lib"]
    assert sys.argv == ["study.py", "-v"]
    monkeypatch.setattr("sys.path", ["/here/site-packages", "/there/site-packages"])
    context.restore()
    assert sys.path == [*theirs, "/here/site-packages"]
