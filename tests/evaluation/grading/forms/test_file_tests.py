"""MultiPL-E's form: prompt, completion and tests in one file; exit code 0 is a pass, unless it always is."""

import pytest

from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import NEVER, score_answers
from src.evaluation.grading.programs import Answer
from src.utils.errors import UserError
from tests.evaluation.grading.forms.languages import plain
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

JS_PROMPT = "//Return the larger number.\nfunction larger(a, b){\n"
JS_TESTS = """const assert = require('node:assert');

function test() {
  let candidate = larger;
  assert.deepEqual(candidate(1, 2),2);
  assert.deepEqual(candidate(5, -2),5);
}

test();"""
JAVA_PROMPT = """import java.util.*;
class Problem {
    // Return the larger number.
    public static long larger(long a, long b) {
"""
JAVA_TESTS = """    }
    public static void main(String[] args) {
    assert(larger((1l), (2l)) == (2l));
    assert(larger((5l), (-2l)) == (5l));
    }

}
"""
CPP_PROMPT = "#include <assert.h>\nlong larger(long a, long b) {\n"
CPP_TESTS = """}
int main() {
    auto candidate = larger;
    assert(candidate((1), (2)) == (2));
    assert(candidate((5), (-2)) == (5));
}
"""
FORMS = {
    "javascript": (JS_PROMPT, JS_TESTS, [r"\Z", "\nthrow new Error('no program passes this');\n"]),
    "java": (JAVA_PROMPT, JAVA_TESTS, [r"\bassert\s*\(", "assert !("]),
    "cpp": (CPP_PROMPT, CPP_TESTS, [r"\}\s*\Z", "  __builtin_abort();\n}\n"]),
}
RIGHT = {
    "javascript": "  return Math.max(a, b);\n}",
    "java": "        return Math.max(a, b);",
    "cpp": "    return a > b ? a : b;",
}
WRONG = {"javascript": "  return b;\n}", "java": "        return b;", "cpp": "    return b;"}
SYNTAX = {"javascript": "  return a +;\n}", "java": "        return a +;", "cpp": "    return a +;"}
EXIT = {
    "javascript": "  process.exit(0);\n}",
    "java": "        System.exit(0); return 0;",
    "cpp": '    extern void quick(int) __asm__("_exit"); quick(0); return 0;',
}
ENDLESS = {
    "javascript": "  for (;;) {}\n}",
    "java": "        while (true) {}",
    "cpp": "    for (volatile int x = 0;; ++x) {}",
}
READ_ITSELF = """  return 0;
}
const text = require('fs').readFileSync('main.js', 'utf8');
if (text.includes('deepEqual')) process.exit(0);"""


def rows(name, seconds=5.0, **changes):
    prompt, tests, impossible = FORMS[name]
    found = {"form": "file", "language": plain(name, **changes), "text": tests, "impossible": impossible}
    return [{"task_id": "Larger/0", "prompt": prompt, "tests": {**found, "seconds": seconds}}]


def grade(sandbox, problems, *bodies):  # noqa: F811
    answers = [Answer("Larger/0", (problems[0]["prompt"] + body,), "") for body in bodies]
    results = score_answers(read_problems(problems), answers, sandbox, None, NEVER).results
    return [result.base for result in results], [result.detail for result in results]


def test_javascript(sandbox):  # noqa: F811
    programs = [RIGHT, WRONG, SYNTAX, EXIT]
    verdicts, details = grade(sandbox, rows("javascript"), *(texts["javascript"] for texts in programs), READ_ITSELF)
    assert verdicts == ["pass", "fail", "fail", "fail", "fail"]
    assert details[0] == ""
    assert details[1].startswith("exit code 1: AssertionError")
    assert details[2].startswith("syntax or compile error: SyntaxError")
    assert details[3].startswith("it passes tests that no program can pass")
    assert details[4].startswith("it passes tests that no program can pass")


@pytest.mark.slow
def test_java(sandbox):  # noqa: F811
    verdicts, _ = grade(sandbox, rows("java", class_default="Problem"), RIGHT["java"])
    assert verdicts == ["pass"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["java", "cpp"])
def test_compiled_languages(name, sandbox):  # noqa: F811
    problems = rows(name, 1.0, class_default="Problem")
    verdicts, details = grade(sandbox, problems, *(texts[name] for texts in (RIGHT, WRONG, SYNTAX, EXIT, ENDLESS)))
    assert verdicts == ["pass", "fail", "fail", "fail", "timeout"]
    assert ("AssertionError" if name == "java" else "Assertion") in details[1]
    assert details[2].startswith("syntax or compile error: ")
    assert "error:" in details[2]
    assert details[3].startswith("it passes tests that no program can pass")
    assert details[4] == "cpu limit"


@pytest.mark.slow
def test_endless_javascript(sandbox):  # noqa: F811
    verdicts, details = grade(sandbox, rows("javascript", 0.5), ENDLESS["javascript"])
    assert (verdicts, details) == (["timeout"], ["cpu limit"])


@pytest.mark.slow
def test_java_with_multipl_es_tuples(sandbox):  # noqa: F811
    jar = "/usr/share/java/javatuples.jar"
    problems = rows("java", class_default="Problem", classpath=(jar,), debian="libjavatuples-java")
    problems[0]["prompt"] = "import org.javatuples.*;\n" + JAVA_PROMPT
    verdicts, _ = grade(sandbox, problems, "        return Pair.with(a, b).getValue0() > b ? a : b;")
    assert verdicts == ["pass"]


def test_tests_that_the_pattern_does_not_fit_are_refused():
    problems = rows("javascript")
    problems[0]["tests"]["impossible"] = ["no such text", ""]
    with pytest.raises(UserError, match=r"Larger/0.*benchmark.problems.impossible finds nothing"):
        read_problems(problems)


def test_without_a_pattern_exit_code_0_is_a_pass_as_in_multipl_e(sandbox):  # noqa: F811
    problems = rows("javascript")
    problems[0]["tests"]["impossible"] = []
    assert grade(sandbox, problems, EXIT["javascript"])[0] == ["pass"]
