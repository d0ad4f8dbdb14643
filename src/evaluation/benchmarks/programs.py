"""Whole programs in any language: answers between fences, or continuations of the prompt."""

from __future__ import annotations

from typing import Any

from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.generators.samples import Prompt, Sample
from src.evaluation.grading.forms.file_tests import FILE
from src.evaluation.grading.grade import NEVER
from src.evaluation.grading.program_texts import continuations, whole_programs
from src.evaluation.grading.programs import Answer
from src.utils.errors import UserError

PYTHON_FENCES = ("python", "py", "python3")


class ProgramBenchmark(CodeBenchmark):
    """Write a whole program, or continue one; arguments as for `CodeBenchmark`.

    An answer's code block is the program: the last complete one in the language. Where the tests follow the program in
    its file, the answer continues the prompt, and ends before the first of the row's stop strings.
    """

    def problems(self, split: str) -> list[dict[str, Any]]:
        """Return the problems of a split, read once.

        Raises:
            UserError: As `CodeBenchmark.problems`, or `sanitize` asks for what only Python functions can have.
        """
        if self.sanitize != NEVER:
            raise UserError(f"benchmark.sanitize={self.sanitize}: only Python functions can be sanitized; set {NEVER}")
        return super().problems(split)

    def prompts(self, split: str) -> list[Prompt]:
        """Return one prompt per problem; ids are task ids.

        Raises:
            UserError: As `CodeBenchmark.prompts`, or stop strings of continuations would end chat answers at once.
        """
        stops = {stop for problem in self.problems(split) for stop in problem.get("stop", ())}
        if self.chat and (wrong := sorted(stops & set(self.decoding.stop))):
            raise UserError(
                f"benchmark.chat=true: the stop string {wrong[0]!r} would end an answer before its program; "
                "set benchmark.decoding.stop=[]"
            )
        return super().prompts(split)

    def _answer(self, sample: Sample, problem: dict[str, Any]) -> Answer:
        tests, text = problem["tests"], sample.completion
        fences = tests["language"]["fences"] if "language" in tests else PYTHON_FENCES
        if tests["form"] == FILE and not sample.whole:
            texts = continuations(text, problem["prompt"], problem["stop"], fences)
        else:
            texts = whole_programs(text, fences)
        return Answer(sample.task_id, texts, text)
