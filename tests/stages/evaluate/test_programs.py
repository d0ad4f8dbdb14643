"""Benchmarks of whole programs through the stage: samples files, and models behind a server."""

import pandas as pd
import pytest

from src.stages.evaluate.run import evaluate
from src.stages.job import compose_job
from src.utils.errors import UserError
from src.utils.jsonl import read_jsonl, write_jsonl
from tests.evaluation.benchmarks.test_program_rows import CALLS, STDIN
from tests.evaluation.generators.server import serving
from tests.evaluation.grading.forms.languages import language
from tests.evaluation.grading.forms.test_file_tests import JS_PROMPT, JS_TESTS, RIGHT
from tests.evaluation.sandbox.conftest import sandbox  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.usefixtures("sandbox"), pytest.mark.slow]
ADD = "Sure:\n```python\nprint(sum(map(int, input().split())))\n```\n"
METHOD = "```python\nclass Solution:\n    def add(self, xs: List[int], y: str):\n        return [sum(xs)]\n```\n"
MULTIPL_E = {
    "name": "larger", "language": "js", "prompt": JS_PROMPT, "tests": JS_TESTS, "stop_tokens": ["\nfunction ", "\n//"]
}  # fmt: skip


def run(tmp_path, name, rows, *overrides):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    common = [f"benchmark={name}", f"benchmark.problems.data={tmp_path}/rows.jsonl", f"output_root={tmp_path}/runs"]
    directory = evaluate(compose_job("evaluate", [*common, "benchmark.recheck=0", *overrides]))
    scores = pd.read_csv(directory / "scores.csv").set_index("metric")["value"]
    return scores["pass@1"], read_jsonl(directory / f"verdicts-{name}.jsonl")


def test_livecodebench_from_a_samples_file(tmp_path):
    answers = [
        ("LiveCodeBench/abc1", ADD),
        ("LiveCodeBench/abc1", "```python\nprint(3)\n```"),
        ("LiveCodeBench/7", METHOD),
    ]
    write_jsonl(tmp_path / "answers.jsonl", [{"task_id": name, "completion": text} for name, text in answers])
    score, verdicts = run(tmp_path, "livecodebench", [STDIN, CALLS], f"samples={tmp_path}/answers.jsonl")
    assert score == 0.75
    assert [(row["task_id"], row["base"], row["detail"]) for row in verdicts] == [
        ("LiveCodeBench/abc1", "pass", ""),
        ("LiveCodeBench/abc1", "fail", "test 1: wrong output (line 1 differs)"),
        ("LiveCodeBench/7", "pass", ""),
    ]


def test_livecodebench_of_a_served_model(tmp_path):
    with serving() as server:
        server.choice |= {"message": {"role": "assistant", "content": ADD}}
        served = ["generator=openai", f"generator.base_url={server.url}", "generator.model=tiny"]
        assert run(tmp_path, "livecodebench", [STDIN], *served)[0] == 1
        asked = server.asked[0]["messages"][-1]["content"]
        assert asked.startswith("Solve this problem with a Python program")
        assert "Add {a}." in asked
        assert "4 5" not in asked


def test_multipl_e_of_a_served_model(tmp_path):
    language("javascript")
    with serving() as server:
        server.choice |= {"text": RIGHT["javascript"] + "\n// more\nfunction wrong("}
        served = ["generator=openai", f"generator.base_url={server.url}", "generator.model=tiny"]
        assert run(tmp_path, "multipl_e_js", [MULTIPL_E], *served)[0] == 1
        assert server.asked[0]["prompt"] == JS_PROMPT
        assert "\nfunction " in server.asked[0]["stop"]


def test_multipl_e_from_a_samples_file_and_in_chat_form(tmp_path):
    language("javascript")
    texts = {"completion": RIGHT["javascript"], "solution": JS_PROMPT + RIGHT["javascript"]}
    for key, text in texts.items():
        write_jsonl(tmp_path / f"{key}.jsonl", [{"task_id": "larger", key: text}])
        assert run(tmp_path, "multipl_e_js", [MULTIPL_E], f"samples={tmp_path}/{key}.jsonl")[0] == 1
    block = f"Here:\n```js\n{JS_PROMPT}{RIGHT['javascript']}\n```\n"
    with serving() as server:
        server.choice |= {"message": {"role": "assistant", "content": block}}
        served = ["generator=openai", f"generator.base_url={server.url}", "generator.model=tiny"]
        with pytest.raises(UserError, match=r"chat=true.*decoding.stop=\[\]"):
            run(tmp_path, "multipl_e_js", [MULTIPL_E], *served, "benchmark.chat=true")
        chat = ("benchmark.chat=true", "benchmark.decoding.stop=[]")
        assert run(tmp_path, "multipl_e_js", [MULTIPL_E], *served, *chat)[0] == 1


def test_a_missing_compiler_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/bin-of-nothing")
    with pytest.raises(UserError, match=r"Java: javac is not installed; apt install default-jdk-headless"):
        run(tmp_path, "multipl_e_java", [{**MULTIPL_E, "language": "java"}], f"samples={tmp_path}/rows.jsonl")


def test_only_python_functions_can_be_sanitized(tmp_path):
    with pytest.raises(UserError, match=r"benchmark.sanitize=fallback.*set never"):
        run(tmp_path, "livecodebench", [STDIN], f"samples={tmp_path}/rows.jsonl", "benchmark.sanitize=fallback")


def test_a_language_of_ones_own_is_one_file(tmp_path):
    """The lines of docs/evaluation.md."""
    (tmp_path / "benchmark" / "language").mkdir(parents=True)
    (tmp_path / "benchmark" / "language" / "bash.yaml").write_text(
        "_target_: src.evaluation.grading.forms.languages.Language\nname: Bash\nfile: main.sh\n"
        "check: [bash, -n, main.sh]\nrun: [bash, main.sh]\nfences: [bash, sh]\ndebian: bash\n"
    )
    write_jsonl(
        tmp_path / "answers.jsonl", [{"task_id": "LiveCodeBench/abc1", "completion": "read a b; echo $((a + b))"}]
    )
    own = [f"hydra.searchpath=[file://{tmp_path}]", "benchmark/language@benchmark.problems.language=bash"]
    score, verdicts = run(tmp_path, "livecodebench", [STDIN], f"samples={tmp_path}/answers.jsonl", *own)
    assert (score, verdicts[0]["detail"]) == (1, "")
