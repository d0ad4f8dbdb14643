"""CodeXGLUE's code-to-text rows (arXiv 2102.04664): one data set per language, all of one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from src.data.examples import Examples, join
from src.data.forms import codexglue
from src.data.sources import RecordSource, require_weight
from src.utils.files import sha256_json

FILES = (
    "data/codexglue/{language}_{split}*.jsonl*",
    "data/codexglue/{language}/{split}*.jsonl*",
    "data/codexglue/{language}/{split}*.parquet",
)
HUB = "google/code_x_glue_ct_code_to_text:{language}"


@dataclass(frozen=True)
class CodeToText:
    """Functions without their docstring, and the docstring as the answer, in one or more languages.

    Args:
        task: Task of the rows.
        languages: `python`, `java`, `go`, `javascript`, `php`, `ruby`.
        user_prompt: The user turn; `{code}` is the bare function.
        data: Places of a language's rows as in `RecordSource`, with `{language}` too; None: `FILES`, `HUB`.
        held_out: Share of the training rows set aside for validation; 0: validation has its own files.
        limits: Split -> maximum number of rows per language.
        weight: As of `RecordSource`.

    Raises:
        UserError: `weight` is not above 0.
    """

    task: str
    languages: Sequence[str]
    user_prompt: str
    data: Sequence[str] | str | None = None
    held_out: float = 0.0
    limits: Mapping[str, int] = field(default_factory=dict)
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_weight(self.weight, self.task)

    def examples(self, split: str) -> Examples:
        """All rows of a split, language by language.

        Raises:
            UserError: As for `RecordSource.examples`.
        """
        return join(source.examples(split) for source in self._sources())

    def is_local(self, split: str) -> bool:
        """True if the rows of a split are in files, so that reading them needs no network."""
        return all(source.is_local(split) for source in self._sources())

    def fingerprint(self, split: str) -> str:
        """Hash of everything that determines the rows: equal hashes mean equal rows."""
        return sha256_json([source.fingerprint(split) for source in self._sources()])

    def _sources(self) -> list[RecordSource]:
        data = (*FILES, HUB) if self.data is None else self.data
        return [
            RecordSource(
                self.task, places_of(data, language), self.user_prompt, "docstring",
                form=codexglue, id="url", held_out=self.held_out, limits=self.limits,
            )
            for language in self.languages
        ]  # fmt: skip


def places_of(data: Sequence[str] | str, language: str) -> list[str]:
    """The places of one language's rows."""
    return [place.replace("{language}", language) for place in ([data] if isinstance(data, str) else data)]
