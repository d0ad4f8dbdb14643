"""The page of problems: its content, its filters with and without scripts, and hostile answers."""

import base64
import hashlib
import re

import pytest

from src.evaluation.statistics.differences import ANSWER_COLUMNS, COLUMNS, Tally
from src.reporting.problems import LONGEST, tally_sentence, write_answers, write_differences
from tests.reporting.browser import SCHEMES, draw, needs_browser
from tests.reporting.parsed_page import Page

EVIL = "</pre></details><script>document.body.innerHTML = ''</script><img src=x onerror=alert(1)>"


def row(**values):
    code = {"benchmark": "humaneval", "metric": "pass@1+", "reference": "mix", "subject": "ties"}
    return dict.fromkeys(COLUMNS, "") | {"reference_value": 1.0, "value": 0.0} | code | values


ROWS = [
    row(
        item="H/1", prompt="def f(x):\n", reference_answer="def f(x):\n    return x + 1\n", answer="def f(x): 1 / 0",
        input="[1]", expected="2", got="input 0: ZeroDivisionError",
    ),
    row(item=f"H/{EVIL}", reference_value=0.0, value=1.0, prompt=EVIL, reference_answer=EVIL, answer=f"x = 1 # {EVIL}"),
    row(
        item="docs/7", benchmark="codexglue", metric="bleu", reference_value=0.5, value=0.25, expected="Adds one.",
        reference_answer="Adds one.", answer="word " * 300 + "\x1b[2J",
    ),
]  # fmt: skip
TALLIES = [Tally("ties", "humaneval", "pass@1+", 164, 1, 1), Tally("ties", "codexglue", "bleu", 9, 0, 1)]


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "differences.html"
    write_differences(path, "mix", ROWS, TALLIES, 500, [("serious", f"chat templates differ: {EVIL}")])
    return path.read_text(encoding="utf-8")


def test_both_answers_and_the_failing_test_are_shown(html):
    text = re.sub(r"\s+", " ", "".join(Page(html).text))
    assert "H/1 humaneval: mix better Promptdef f(x): mix passes def f(x): return x + 1 ties fails" in text
    assert "Failing input[1] Expected2 Got: tiesinput 0: ZeroDivisionError" in text
    assert "mix bleu 50.0 Adds one. ties bleu 25.0 word" in text
    assert "ReferenceAdds one." in text
    assert "of 164 problems, ties solves 1 that mix does not, mix solves 1" in text


def test_answers_are_text_whatever_they_hold(html):
    page = Page(html)
    assert len(page.of("script")) == 1
    assert not page.of("img")
    assert not [attributes for _, attributes in page.tags if {"onerror", "src", "href"} & set(attributes)]
    assert "\x1b" not in html
    assert "\\x1b[2J" in html


def test_no_script_but_its_own_may_run(html):
    [policy] = [meta["content"] for meta in Page(html).of("meta") if meta.get("http-equiv")]
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_filters_count_their_cards_and_tools_that_need_scripts_start_hidden(html):
    labels = re.findall(r"<span>([^<]+) <small>(\d+)</small>", html)
    assert labels == [
        *[("all", "3"), ("humaneval", "2"), ("codexglue", "1")],
        *[("all", "3"), ("mix better", "2"), ("ties better", "1")],
    ]
    assert '<div id="tools" hidden>' in html
    assert html.count('class="card run-1 benchmark-1 outcome-1"') == 1


def test_only_one_solves_it_if_all_are_programs(tmp_path):
    write_differences(tmp_path / "a.html", "mix", ROWS[:2], TALLIES[:1], 500)
    assert "only mix <small>1" in (tmp_path / "a.html").read_text()


def test_a_limit_says_what_it_leaves_out(tmp_path):
    rows = [row(item=f"H/{number}", answer="_" * (LONGEST + 5)) for number in range(4)]
    write_differences(tmp_path / "a.html", "mix", rows, TALLIES[:1], 3)
    text = (tmp_path / "a.html").read_text()
    assert text.count("<details") == 3
    assert "1 more are only in differences.csv; page_limit= shows more" in text
    assert "... 5 more characters" in text


def test_all_answers_of_one_run(tmp_path):
    common = dict.fromkeys(ANSWER_COLUMNS, "") | {"subject": "mix", "benchmark": "humaneval", "metric": "pass@1+"}
    rows = [common | {"item": f"H/{number}", "value": value} for number, value in enumerate((0.0, 0.5, 1.0, 1.0))]
    texts = common | {"benchmark": "codexglue", "metric": "bleu", "item": "c/1", "value": 0.123, "answer": "Adds."}
    write_answers(tmp_path / "a.html", "mix", [*rows, texts], 500)
    html = (tmp_path / "a.html").read_text()
    assert "humaneval: pass@1+ 62.5 over 4 items, 2 of them solved." in html
    assert "codexglue: bleu 12.3 over 1 items." in html
    assert re.findall(r"<span>([^<]+) <small>(\d+)</small>", html)[-4:] == [
        ("all", "5"), ("failed", "1"), ("passed in part", "1"), ("passed", "2"),
    ]  # fmt: skip
    assert "(not recorded)" in html


def test_no_difference(tmp_path):
    write_differences(tmp_path / "a.html", "mix", [], [Tally("ties", "humaneval", "pass@1+", 9, 0, 0)], 500)
    assert "No item is scored differently." in (tmp_path / "a.html").read_text()


def test_the_sentence_of_a_tally():
    said = "mbpp: of 378 problems, b solves 12 that a does not, a solves 3 that b does not (pass@1+)."
    assert tally_sentence("a", Tally("b", "mbpp", "pass@1+", 378, 12, 3)) == said


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_in_a_browser(html, tmp_path, scheme):
    """Nothing overflows, filters work by style rules alone, and the search leaves what matches."""
    values = """
      const page = document.documentElement, visible = () => cards.filter(card => card.checkVisibility()).length;
      const right = Math.max(...[...document.querySelectorAll("body *")].filter(element => !element.closest("pre"))
        .map(element => element.getBoundingClientRect().right));
      const found = [page.clientWidth, page.scrollWidth, Math.ceil(right), visible()];
      document.getElementById("outcome-2").checked = true; found.push(visible());
      document.getElementById("outcome-0").checked = true;
      search.value = "ZERODIV return"; apply(); found.push(visible());
      search.value = ""; apply()"""
    unguarded = re.sub("<meta http-equiv[^>]*>", "", html)  # the numbers come from a script of the test
    sizes, picture = draw(tmp_path, unguarded, values, scheme)
    for width, (client, scrolled, right, *counts) in sizes.items():
        assert scrolled <= client <= width
        assert right <= client
        assert counts == [3, 1, 1]
    paper = picture[890, 2, :3].mean()
    assert paper > 0.95 if scheme == "light" else paper < 0.15


def test_a_lower_loss_is_better_and_in_nats(tmp_path):
    loss = row(item="r/1", metric="nll", reference_value=0.5, value=1.25, benchmark="nll")
    write_differences(tmp_path / "a.html", "mix", [loss], [Tally("ties", "nll", "nll", 9, 0, 1)], 500)
    html = (tmp_path / "a.html").read_text()
    assert "nll: ties is better on 0 of 9 items, mix on 1 (nll)." in html
    assert "nll 0.5000" in html
    assert "nll: mix better" in html
