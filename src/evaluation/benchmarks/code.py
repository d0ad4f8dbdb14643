"""Code generation: problems with tests of any form, scored by running the answers."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from math import comb
from typing import Any

from src.data.prompts import render_user_turn
from src.evaluation.benchmarks.base import SPLITS, Limit, Rows, check_covered, check_split, read_rows
from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.evaluation.grading.forms.result import PASS
from src.evaluation.grading.grade import FALLBACK, GRADING_RULES, SANITIZE
from src.evaluation.grading.programs import Answer, answer_of_row, candidate_programs
from src.evaluation.grading.results import ProgramResult
from src.evaluation.statistics.scores import Score
from src.utils.errors import UserError, unknown_choice
from src.utils.files import sha256_json
from src.utils.progress import say

SHOWN = ("buggy",)  # fields of a problem that a user turn may show besides its prompt
# Runs answers on their problems, with one of `SANITIZE` and a share to run again; one result per answer, in order.
Judge = Callable[[Sequence[dict[str, Any]], Sequence[Answer], str, float], Sequence[ProgramResult]]


class CodeBenchmark:
    """Write a program that passes tests.

    Args:
        name: Name in score tables.
        problems: Problems in EvalPlus's format, or with `tests` of another form (see `grading.forms.outcome`): a
            function of the split, or paths with `{split}`.
        decoding: Decoding settings.
        user_prompt: The user turn; `{prompt}` is the problem's prompt, `{buggy}` its wrong body, where it has one.
        prefill: Beginning of the assistant turn that the model continues.
        task: Task that it measures.
        chat: Use the chat template; False: the model continues the problem's prompt as raw text.
        strip: Strip white space around the problem's prompt first, as EvalPlus does.
        sanitize: `fallback`: the whole answer is the program where it parses, else its code block, else what the
            sanitizer finds (see `score_answers`); `evalplus`: what EvalPlus's sanitizer leaves of the answer, as
            `evalplus.codegen` does; `never`: as `fallback`, without the sanitizer.
        recheck: Share of the programs to run again with another hash seed, to find flaky ones; 0: none.
        k: One or more values of k for pass@k.
        limit: Maximum number of problems, evenly spaced over all; also by split; None: all.
        splits: Splits that it has.
        of_training_data: Its problems are held out of the task's training data: decontamination does not look for them.
    """

    def __init__(
        self,
        name: str,
        problems: Rows,
        decoding: Decoding,
        user_prompt: str = "{prompt}",
        prefill: str = "",
        task: str = "codegen",
        chat: bool = True,
        strip: bool = False,
        sanitize: str = FALLBACK,
        recheck: float = 0.1,
        k: Sequence[int] = (1,),
        limit: Limit = None,
        splits: Sequence[str] = SPLITS,
        of_training_data: bool = False,
    ) -> None:
        if not k or min(k) < 1:
            raise UserError(f"benchmark.k={list(k)}: expected numbers of at least 1, e.g. [1, 10]")
        if sanitize not in SANITIZE:
            raise unknown_choice("benchmark.sanitize", sanitize, list(SANITIZE))
        if not 0 <= recheck <= 1:
            raise UserError(f"benchmark.recheck={recheck}: expected a share from 0 to 1")
        self.sanitize, self.recheck = sanitize, recheck
        self.name, self.task, self.decoding, self.chat, self.strip = name, task, decoding, chat, strip
        self.user_prompt, self.prefill, self.k, self.limit = user_prompt, prefill, tuple(k), limit
        self.splits, self.of_training_data = tuple(splits), of_training_data
        self._source, self._problems = problems, dict[str, list[dict[str, Any]]]()
        self._hashes = dict[str, str]()

    @property
    def definitions(self) -> dict[str, str]:
        """Map each metric to its definition, to print with its values."""
        words = {"": "all base inputs", "+": "all base and plus inputs"}
        if self._problems and not any(map(_have_added_tests, self._problems.values())):
            words = {"": "all tests"}
        return {f"pass@{k}{mark}": f"{_share(k)} passes {inputs}" for k in self.k for mark, inputs in words.items()}

    def problems(self, split: str) -> list[dict[str, Any]]:
        """Return the problems of a split, read once.

        Raises:
            UserError: There is no such split, a file is missing, or there are no problems.
        """
        check_split(self.name, split, self.splits)
        if split not in self._problems:
            self._problems[split] = read_rows(self._source, split, "benchmark.problems", self.limit)
        return self._problems[split]

    def items(self, split: str) -> dict[str, dict[str, Any]]:
        """Map each item to its problem."""
        return {problem["task_id"]: problem for problem in self.problems(split)}

    def references(self, split: str) -> dict[str, str]:
        """Map each item to its reference solution."""
        return {name: problem["canonical_solution"] for name, problem in self.items(split).items()}

    def prompts(self, split: str) -> list[Prompt]:
        """Return one prompt per problem; ids are task ids.

        Raises:
            UserError: `decoding` draws too few answers for pass@k.
        """
        if max(self.k) > self.decoding.samples:
            raise UserError(
                f"benchmark.k={list(self.k)} needs benchmark.decoding.samples={max(self.k)} or more "
                f"(now {self.decoding.samples}) and a benchmark.decoding.temperature above 0"
            )
        return [self._prompt(problem) for problem in self.problems(split)]

    def content_hash(self, split: str) -> str:
        """Hash of the problems with their tests."""
        if split not in self._hashes:  # a study asks for it with every checkpoint
            rows = [[problem[key] for key in sorted(problem)] for problem in self.problems(split)]
            self._hashes[split] = sha256_json(rows)
        return self._hashes[split]

    def rules(self) -> dict[str, Any]:
        """Return what decides a verdict besides answers, problems and settings."""
        return {"grading": GRADING_RULES, "evalplus": version("evalplus"), "python": platform.python_version()}

    def score(self, samples: Sequence[Sample], split: str, judge: Judge) -> list[Score]:
        """Run the answers; `pass@k` counts base inputs, `pass@k+` base and plus inputs together, where there are any.

        Answers to other problems are ignored, so that one file for all of MBPP works for every part of it.

        Raises:
            UserError: A problem has no answer, or fewer answers than k.
        """
        problems = self.problems(split)
        by_id = self.items(split)
        samples = self._known(samples, by_id)
        check_covered(list(by_id), samples, self.name)
        answers = [self._answer(sample, by_id[sample.task_id]) for sample in samples]
        results = judge(problems, answers, self.sanitize, self.recheck)
        return pass_scores(self.name, samples, results, self.k, _have_added_tests(problems))

    def _known(self, samples: Sequence[Sample], by_id: dict[str, dict[str, Any]]) -> list[Sample]:
        known = [sample for sample in samples if sample.task_id in by_id]
        if known and len(known) < len(samples):
            other = next(sample.task_id for sample in samples if sample.task_id not in by_id)
            left_out = f"{len(samples) - len(known)} of {len(samples)} samples"
            say(f"{self.name}: {left_out} belong to other problems and are ignored; the first is {other}")
        return known

    def _answer(self, sample: Sample, problem: dict[str, Any]) -> Answer:
        text, prompt, entry_point = sample.completion, problem["prompt"], problem["entry_point"]
        if not sample.generated:
            row = {"task_id": sample.task_id, "solution" if sample.whole else "completion": text}
            return answer_of_row(row, prompt, entry_point)
        shown, whole = self.prefill + text, (text, prompt + text)
        raw = text.replace("\t", "    ")  # as EvalPlus's decoders do
        if not self.chat:
            asked = self._prompt(problem).text
            shown, whole, raw = text, (asked + text, text), asked + raw
        return Answer(sample.task_id, candidate_programs(whole, shown, prompt, entry_point), raw, chat=True)

    def _prompt(self, problem: dict[str, Any]) -> Prompt:
        text = problem["prompt"]
        if self.strip:
            text = text.strip() if self.chat else text.strip() + "\n"
        if not self.chat:
            return Prompt(problem["task_id"], text, chat=False)
        more = {name: problem[name] for name in SHOWN if name in problem}
        return Prompt(problem["task_id"], render_user_turn(self.user_prompt, prompt=text, **more), self.prefill)


def pass_scores(
    benchmark: str,
    samples: Sequence[Sample],
    results: Sequence[ProgramResult],
    ks: Sequence[int] = (1,),
    added: bool = True,
) -> list[Score]:
    """Compute the unbiased pass@k of each task; "plus" means base and plus inputs together.

    Args:
        benchmark: Name of the benchmark.
        samples: n answers per task.
        results: One per sample, in the order of `samples`.
        ks: Values of k for pass@k.
        added: The problems have added ("plus") tests; False: there is no `pass@k+`.

    Raises:
        UserError: A task has fewer answers than k.
    """
    base, plus = defaultdict[str, list[bool]](list), defaultdict[str, list[bool]](list)
    for sample, result in zip(samples, results, strict=True):
        base[sample.task_id].append(result.base == PASS)
        plus[sample.task_id].append(result.base == PASS and result.plus == PASS)
    scores = []
    for k in ks:
        for mark, table in (("", base), ("+", plus))[: 1 + added]:
            scores += [
                Score(benchmark, task, f"pass@{k}{mark}", pass_at_k(len(solved), sum(solved), k))
                for task, solved in table.items()
            ]
    return scores


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of `k` samples is correct (arXiv 2107.03374, equation 1).

    Args:
        samples: Number n of samples of a problem.
        correct: Number c of correct ones among them.
        k: Number of samples drawn.

    Returns:
        1 - C(n - c, k) / C(n, k).

    Raises:
        UserError: `k` is below 1 or above n.
    """
    if not 1 <= k <= samples:
        raise UserError(f"pass@{k} needs at least {max(k, 1)} samples per problem, got {samples}")
    return 1 - comb(samples - correct, k) / comb(samples, k)


def _have_added_tests(problems: Sequence[dict[str, Any]]) -> bool:
    """True unless all problems say that they have no plus inputs."""
    return any("tests" not in problem and problem.get("plus_input") != [] for problem in problems)


def _share(k: int) -> str:
    return "share of problems whose program" if k == 1 else f"unbiased estimate of the chance that one of {k} programs"
