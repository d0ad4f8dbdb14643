"""Programs that read standard input: right, wrong, hostile, in each language."""

import pytest

from src.evaluation.grading.forms.registry import read_problems
from src.evaluation.grading.grade import NEVER, score_answers
from src.evaluation.grading.programs import Answer
from src.utils.errors import UserError
from tests.evaluation.grading.forms.languages import plain
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

CASES = [["1 2\n", "3\n"], ["10 -4\n", "6\n"], ["0 0\n", "0"]]
SECRET = "731942"  # an expected output that no program is told


def problem(language, cases=CASES, seconds=1.0, **tests):
    tests = {"form": "stdin", "language": language, "cases": cases, "seconds": seconds, **tests}
    return {"task_id": "Sum/0", "prompt": "Add.", "tests": tests}


def grade(sandbox, row, *programs):  # noqa: F811
    answers = [Answer("Sum/0", texts if isinstance(texts, tuple) else (texts,), "") for texts in programs]
    return score_answers(read_problems([row]), answers, sandbox, None, NEVER).results


RIGHT = {
    "python": "a, b = map(int, input().split())\nprint(a + b)\nexit()",
    "javascript": "const [a, b] = require('fs').readFileSync('/dev/stdin', 'utf8').split(' ').map(Number);\n"
    "console.log(a + b);",
    "java": "import java.util.*;\npublic class Adder {\n  public static void main(String[] x) {\n"
    "    Scanner s = new Scanner(System.in);\n    System.out.println(s.nextInt() + s.nextInt());\n  }\n}",
    "cpp": "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }",
}
SYNTAX = {
    "python": "print(",
    "javascript": "let = = 1",
    "java": "class Main { int }",
    "cpp": "int main() { return x; }",
}
ENDLESS = {
    "python": "while True: pass",
    "javascript": "while (true) {}",
    "java": "class Main { public static void main(String[] x) { while (true) {} } }",
    "cpp": "int main() { volatile int x = 0; while (true) ++x; }",
}
FLOOD = {
    "python": "while True: print('x' * 1000)",
    "javascript": "const fs = require('fs'); while (true) fs.writeSync(1, 'x'.repeat(1000));",
    "java": "class Main { public static void main(String[] x) { while (true) System.out.println(1000); } }",
    "cpp": '#include <cstdio>\nint main() { while (true) puts("xxxxxxxxxxxxxxxxxxxxxxxxxxxxx"); }',
}
FORK = {
    "python": "import os\nos.fork()\nprint(sum(map(int, input().split())))",
    "javascript": "const r = require('child_process').spawnSync('/bin/echo', ['3']);\nif (r.error) throw r.error;",
    "java": "class Main { public static void main(String[] x) throws Exception {\n"
    '  new ProcessBuilder("/bin/echo", "3").inheritIO().start().waitFor(); } }',
    "cpp": "#include <unistd.h>\n#include <stdlib.h>\nint main() { if (fork() < 0) abort(); }",
}
CRASH = {
    "python": "raise KeyError('no')",
    "javascript": "throw new TypeError('no')",
    "java": "class Main { public static void main(String[] x) { int y = 1 / (x.length); } }",
    "cpp": "int main() { int *p = nullptr; *p = 1; }",
}
LANGUAGES = [
    pytest.param("python"),
    pytest.param("javascript", marks=pytest.mark.slow),
    pytest.param("java", marks=pytest.mark.slow),
    pytest.param("cpp", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", LANGUAGES)
def test_right_wrong_and_hostile_programs(name, sandbox):  # noqa: F811
    programs = [RIGHT, SYNTAX, ENDLESS, FLOOD, FORK, CRASH, RIGHT]
    row = problem(plain(name), seconds=1.0 if name == "java" else 0.3)
    results = grade(sandbox, row, *(texts[name] for texts in programs))
    assert [result.base for result in results] == ["pass", "fail", "timeout", "fail", "fail", "fail", "pass"]
    assert all(result.base == result.plus for result in results)
    right, syntax, endless, flood, fork, crash, _ = (result.detail for result in results)
    assert right == ""
    assert syntax.startswith("syntax or compile error: ")
    assert endless == "test 0: cpu limit"
    assert flood == "test 0: an output beyond its limit"
    assert fork.startswith(("test 0: exit code", "test 0: killed"))
    expected = {"python": "KeyError", "javascript": "TypeError", "java": "ArithmeticException", "cpp": "signal 11"}
    assert expected[name] in crash


@pytest.mark.slow
def test_java_finds_the_right_class_and_runs(sandbox):  # noqa: F811
    [result] = grade(sandbox, problem(plain("java"), seconds=5.0), RIGHT["java"])
    assert (result.base, result.detail) == ("pass", "")


def test_the_first_text_that_compiles_is_the_program(sandbox):  # noqa: F811
    right = RIGHT["python"]
    results = grade(sandbox, problem(plain("python")), ("Here it is: (", right), ("3", right), ("(", ")"))
    assert [result.base for result in results] == ["pass", "fail", "fail"]


def test_a_wrong_output_says_which_test_and_shows_it(sandbox):  # noqa: F811
    [result] = grade(sandbox, problem(plain("python")), "a, b = map(int, input().split())\nprint(abs(a) + abs(b))")
    assert (result.base, result.detail) == ("fail", "test 1: wrong output (line 1 differs)")
    assert (result.failure.input, result.failure.expected, result.failure.got) == ("'10 -4\\n'", "'6\\n'", "'14\\n'")


ATTACKS = {
    "looks for the answer in files": """
import os
for top, below, names in os.walk('/'):
    below[:] = [name for name in below if name not in ('usr', 'work', 'root', 'dev', 'lib', 'lib64')]
    for name in names:
        try: text = open(os.path.join(top, name)).read()
        except Exception: continue
        if '73' + '1942' in text and name != 'main.py': print(text); raise SystemExit
""",
    "looks for the answer in descriptors": """
import os
for number in range(3, 300):
    try: print(os.read(number, 1000))
    except OSError: pass
""",
    "looks at its parent": "import os\nprint(open(f'/proc/{os.getppid()}/environ').read())",
    "kills its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "forges a frame": "import os\nos.write(1, b'P' + bytes(3) + b'pass')\nprint('pass')\nexit(0)",
    "remembers the last test": "try: print(open('memory').read())\nexcept OSError: open('memory', 'w').write('3')",
    "prints both answers": "print(3)\nprint(731942)",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name, sandbox):  # noqa: F811
    row = problem(plain("python"), [["1 2\n", SECRET]])
    hostile, honest = grade(sandbox, row, ATTACKS[name], f"print({SECRET})")
    assert hostile.base == "fail"
    assert honest.base == "pass"


def test_each_test_is_a_fresh_process_in_a_fresh_directory(sandbox):  # noqa: F811
    program = "import os\nprint(sorted(os.listdir('.')))\nopen('left', 'w').write('x')"
    cases = [["", "['.stdin', 'main.py']"]] * 2
    assert grade(sandbox, problem(plain("python"), cases), program)[0].base == "pass"
    compiled = (
        '#include <cstdio>\nint main() { FILE *f = fopen("left", "r"); puts(f ? "old" : "new");\n'
        '  f = fopen("left", "w"); fputs("x", f); }'
    )
    assert grade(sandbox, problem(plain("cpp"), [["", "new"]] * 2, 2.0), compiled)[0].base == "pass"


def test_packages_of_this_python_can_be_imported(sandbox):  # noqa: F811
    assert (
        grade(sandbox, problem(plain("python"), [["", "3"]], 5.0), "import numpy\nprint(numpy.arange(3).sum())")[0].base
        == "pass"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.append(rows[0]), "row 2 .* repeats"),
        (lambda rows: rows[0]["tests"].update(cases=[]), "row 1 .* no tests"),
        (lambda rows: rows[0].pop("prompt"), "row 1 .* lacks prompt"),
    ],
)
def test_defects_of_rows(change, words):
    rows = [problem(plain("python"))]
    change(rows)
    with pytest.raises(UserError, match=words):
        read_problems(rows)
