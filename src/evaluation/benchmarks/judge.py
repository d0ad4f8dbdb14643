"""A language model as the judge of summaries, behind a server with OpenAI's protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from src.data.prompts import render_user_turn
from src.evaluation.generators.openai import OpenAIGenerator
from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.utils.errors import UserError
from src.utils.validation import checked_dataclass

_LAST_LINE = r"[*_`\s]*score\s*:\s*[*_`]*(\d+)(?:\s*/\s*{highest})?[*_`\s]*\.?[*_`\s]*"
FIELDS = ("code", "reference", "prediction", "lowest", "highest")


@dataclass(frozen=True)
class Grades:
    """Grades of a judge.

    Attributes:
        scores: Item -> grade as a fraction of the range.
        unread: Item -> last line of a reply without a grade in range; such items have no score.
    """

    scores: dict[str, float]
    unread: dict[str, str]


@checked_dataclass("benchmark.judge")
class SummaryJudge:
    """Ask a model for a grade of each summary.

    Attributes:
        base_url: `http://HOST:PORT/v1`.
        model: A name that the server lists; None: no judge.
        prompt: The user turn, with `{code}`, `{reference}`, `{prediction}`, `{lowest}` and `{highest}`. It must ask for
            a last line `Score: N`.
        lowest: Grade that counts 0.
        highest: Grade that counts 1.
        max_new_tokens: Longest reply; one that is cut off has no grade.
        concurrency: Number of requests in flight.
        timeout: Time for one reply, in seconds.
        extra_body: More fields of every request.
    """

    name = "judge"

    base_url: str | None = None
    model: str | None = None
    prompt: str = ""
    lowest: int = 1
    highest: int = 5
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    concurrency: Annotated[int, Field(ge=1)] = 64
    timeout: Annotated[float, Field(gt=0)] = 600.0
    extra_body: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.lowest < 0 or self.lowest >= self.highest:
            raise UserError(
                f"benchmark.judge.lowest={self.lowest} and .highest={self.highest}: expected 0 <= lowest < highest"
            )
        if (self.model is None) != (self.base_url is None):
            raise UserError(
                "benchmark.judge needs both base_url=http://HOST:PORT/v1 and model=NAME, got "
                f"{self.base_url} and {self.model}"
            )
        if self.model is not None and "{prediction}" not in self.prompt:
            raise UserError("benchmark.judge.prompt lacks {prediction}: the judge would not see what it grades")
        _turn(self.prompt, **dict.fromkeys(FIELDS, ""))  # a wrong placeholder fails before anything is generated

    @property
    def definition(self) -> str:
        """One line, printed with every value."""
        return f"mean grade by {self.model}, from {self.lowest} to {self.highest}, as a fraction of that range"

    @property
    def decoding(self) -> Decoding:
        """Greedy."""
        return Decoding(max_new_tokens=self.max_new_tokens)

    @cached_property
    def generator(self) -> OpenAIGenerator:
        """The client."""
        return OpenAIGenerator(
            base_url=self.base_url, model=self.model, concurrency=self.concurrency, timeout=self.timeout,
            extensions=False, extra_body=dict(self.extra_body),
        )  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """Identify server and model.

        Raises:
            UserError: There is no such server or model.
        """
        try:
            return self.generator.identity()
        except UserError as error:
            raise UserError(f"benchmark.judge: {error}".replace("generator.", "benchmark.judge.")) from error

    def prompts(
        self, predictions: Mapping[str, str], references: Mapping[str, str], codes: Mapping[str, str] | None
    ) -> list[Prompt]:
        """Build one prompt per reference.

        Args:
            predictions: By item.
            references: By item.
            codes: The functions by item; None if they are not known.

        Raises:
            UserError: The prompt names a field that does not exist, or the functions, which are not known.
        """
        if codes is None and "{code}" in self.prompt:
            raise UserError(
                "benchmark.judge.prompt has {code}, which predictions= and references= do not hold; give samples=FILE, "
                "or set a prompt without it"
            )
        grades = {"lowest": str(self.lowest), "highest": str(self.highest)}
        return [
            Prompt(
                item,
                _turn(
                    self.prompt,
                    code=(codes or {}).get(item, ""),
                    reference=reference.strip(),
                    prediction=predictions[item].strip(),
                    **grades,
                ),
            )
            for item, reference in references.items()
        ]

    def read(self, replies: Sequence[Sample]) -> Grades:
        """Read the grades: the last line must be `Score: N`, with N in range, and the reply must be complete.

        Raises:
            UserError: No reply has a grade.
        """
        scores, unread = {}, {}
        pattern = re.compile(_LAST_LINE.format(highest=self.highest), re.IGNORECASE)
        for reply in replies:
            lines = reply.completion.strip().splitlines()
            found = pattern.fullmatch(lines[-1]) if lines and reply.finish != "length" else None
            grade = int(found[1]) if found and len(found[1]) < 10 else -1
            if self.lowest <= grade <= self.highest:
                scores[reply.task_id] = (grade - self.lowest) / (self.highest - self.lowest)
            else:
                cut = " (cut off)" if reply.finish == "length" else ""
                unread[reply.task_id] = (lines[-1] if lines else "") + cut
        if not scores:
            first = next(iter(unread.values()), "")
            raise UserError(
                f"benchmark.judge: none of {len(replies)} replies ends with `Score: N`, N from {self.lowest} to "
                f"{self.highest}; the first ends with {first[:100]!r}. Change benchmark.judge.prompt or .max_new_tokens"
            )
        return Grades(scores, unread)


def _turn(prompt: str, **fields: str) -> str:
    try:
        return render_user_turn(prompt, **fields)
    except UserError as error:
        raise UserError(str(error).replace("user_prompt", "benchmark.judge.prompt")) from error
