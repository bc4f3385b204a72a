"""Names, values, exceptions and logs of a study contain any text: each view shows them, as text and nothing else."""

from __future__ import annotations

import json
import random
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser import program, show

pytestmark = pytest.mark.slow

PIECES = [
    *("</script><script>document.title='owned'</script>", "<img src=x onerror=document.title='owned'>", "<!--", "-->"),
    *(
        "]]>",
        "<![CDATA[",
        "javascript:document.title='owned'",
        "' onmouseover='",
        '"><svg onload=document.title=1>',
        "&",
    ),
    *("{{ 7 * 7 }}", "{% raw %}", "${7*7}", "`", "\\", "\\u003c", "%s", "%", "{}", "{0.__class__}", "[bold]", "[/]"),
    *(
        "\x1b]52;c;cm0gLXJm\x07",
        "\x1b[2J",
        "\x9b31m",
        "\x9d0;t\x9c",
        "\x08",
        "\r",
        "\n",
        "\t",
        "\v",
        "\f",
        "\0",
        "\x7f",
    ),
    *(
        "\u202e",
        "\u2066",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\u200b",
        "\ud800",
        "\udcff",
        "\U000e0041",
        "e\u0301",
        "ß",
        "漢字",
    ),
    *(
        "__proto__",
        "constructor",
        "toString",
        "null",
        "nan",
        "-",
        "--help",
        "../../x",
        "/",
        "~",
        "$HOME",
        "a" * 300,
        " ",
        "",
    ),
]

STUDY = """
import json
from pathlib import Path
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator
T = json.loads(Path("texts.json").read_text())

def create(project_dir):
    domain = Domain()
    domain.add_float(T["input"], low=0.0, high=9.0)
    domain.add_category(T["kind"], T["choices"])
    for name in ("y", T["output"]):
        domain.add_output(name)
    rows = [{T["input"]: float(row), T["kind"]: T["choices"][row % 2]} for row in range(6)]
    ExperimentData(domain=domain, input_data=rows).store(project_dir)

class Failed(Exception):
    pass
Failed.__name__ = Failed.__qualname__ = T["type"]

@datagenerator(output_names=["y", T["output"]])
def evaluate(**inputs):
    print(T["log"])
    x = inputs[T["input"]]
    if x > 3:
        raise Failed(T["message"])
    return x, T["value"]

def last(project_dir):
    raise Failed(T["message"] * 2)

steps = [Step(create), Step(evaluate, name=T["step"], parallel=True, max_failed=5), Step(last)]
pipeline = Pipeline(T["pipeline"], steps)
"""

VIEWS = (
    *("status r", "status r --json", "list", "failures r", "failures r --json", "table r", "table r --csv -", "wait r"),
    *("logs r last", "efficiency r", "snapshots r", "best r --output y", "report r --output y", "diff r r"),
    *("fork r --from last --dry-run", "retry r --dry-run", "clean r --dry-run", "archive r -o r.tar"),
)


def texts(by_chance: random.Random) -> dict[str, object]:
    def text(most: int = 3, *, but: str = "") -> str:
        made = "".join(by_chance.choices(PIECES, k=by_chance.randint(1, most)))
        return "".join(letter for letter in made if letter not in but)

    large = by_chance.choice([1, 1, 4000])
    # What the names of a table, a step and a pipeline may not contain is refused, with words.
    return {
        **{name: f"{name}{text(2, but=chr(0) + SURROGATES)}" for name in ("input", "kind", "output")},
        **{name: f"{name}{text(2, but='/@' + UNPRINTABLE)}"[:60] for name in ("step", "pipeline")},
        "choices": [f"{end}{text(but=SURROGATES)}" for end in "ab"],
        "type": text(but=chr(0) + SURROGATES),
        **{name: text() * large for name in ("message", "value", "log")},
    }


SURROGATES = "\ud800\udcff"
UNPRINTABLE = "".join(letter for piece in PIECES for letter in piece if not letter.isprintable())


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.found += [name for name, _ in attrs if name.startswith("on")]


def dangerous_in(page: str) -> list[str]:
    parser = Elements()
    parser.feed(page)
    return [name for name in parser.found if name in ("script", "img", "svg", "iframe") or name.startswith("on")]


def a_run(here, seed: int) -> Path:
    folder = here.workspace / str(seed)
    folder.mkdir()
    here.monkeypatch.chdir(folder)
    (folder / "texts.json").write_text(json.dumps(texts(random.Random(seed))))
    (folder / "study.py").write_text(STUDY)
    done = here("run", "study.py", "--project-job", "r", "--rootdir", ".", "--jobs", "1")
    assert done.code == 1, (seed, done.err)
    assert "bug in orchestrator" not in done.err, (seed, done.err)
    return folder


def test_each_view_shows_any_text_as_text(here, pytestconfig):
    # A value of the last one has a lone surrogate.
    for seed in (*range(pytestconfig.getoption("--examples") // 100), 12):
        folder = a_run(here, seed)
        for words in VIEWS:
            done = here(*words.split())
            assert "bug in orchestrator" not in done.err, (seed, words, done.err)
            assert done.code in (0, 1, 3), (seed, words, done.err)
        assert dangerous_in((folder / "report-r.html").read_text(encoding="utf-8")) == ["script"] * 3, seed


@pytest.mark.acceptance
@pytest.mark.skipif(program() is None, reason="there is no Chromium")
def test_a_browser_draws_a_report_with_any_text_and_executes_nothing_of_it(here, pytestconfig):
    for seed in range(max(1, pytestconfig.getoption("--examples") // 100)):
        folder = a_run(here, seed)
        assert here("report", "r", "--output", "y").code == 0
        shown = show(folder / "report-r.html")
        assert shown.console == [], seed
        assert shown.facts["images"] == 0, seed
        assert "output" in shown.facts["text"], seed
