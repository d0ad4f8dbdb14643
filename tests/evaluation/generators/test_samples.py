from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from src.evaluation.generators.samples import (
    Decoding,
    Prompt,
    Sample,
    cut_off,
    finish_counts,
    generate_samples,
    read_samples,
    sample_rows,
    samples_key,
)
from src.utils.errors import UserError
from src.utils.jsonl import write_jsonl

PROMPTS = [Prompt("a", "A"), Prompt("b", "B")]


class Echo:
    """Answers with the prompt's text and index, last prompt first."""

    calls = 0

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]]
    ) -> Iterator[Sample]:
        self.calls += 1
        for prompt in reversed(prompts):
            for index in range(decoding.samples):
                if (prompt.id, index) not in skip:
                    yield Sample(prompt.id, prompt.text, f"{prompt.text}{index} ü\n", index)

    def identity(self) -> dict[str, Any]:
        return {"weights": "w"}


def test_samples_come_in_the_order_of_prompts_and_are_kept(tmp_path: Path) -> None:
    echo, decoding = Echo(), Decoding(temperature=1.0, samples=2)
    samples = generate_samples(echo, PROMPTS, decoding, tmp_path, "key")
    assert [(sample.task_id, sample.index) for sample in samples] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert generate_samples(echo, PROMPTS, decoding, tmp_path, "key") == samples
    assert echo.calls == 1
    assert [sample.completion for sample in read_samples(tmp_path / "key.jsonl")][:2] == ["B0 ü\n", "B1 ü\n"]


def test_an_edited_answer_is_generated_again(tmp_path: Path) -> None:
    echo = Echo()
    samples = generate_samples(echo, PROMPTS, Decoding(), tmp_path, "key")
    path = tmp_path / "key.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("A0", "A1"), encoding="utf-8")
    assert generate_samples(echo, PROMPTS, Decoding(), tmp_path, "key") == samples
    assert echo.calls == 2


def test_more_samples_of_the_same_prompts_reuse_those_there_are(tmp_path: Path) -> None:
    generate_samples(Echo(), PROMPTS[:1], Decoding(), tmp_path, "key")
    assert len(generate_samples(Echo(), PROMPTS, Decoding(), tmp_path, "key")) == 2
    assert len((tmp_path / "key.jsonl").read_text().splitlines()) == 2


def test_key_follows_everything_that_decides_an_answer() -> None:
    def key(weights: str = "w", prompts: Sequence[Prompt] = PROMPTS, content: str = "c", **decoding: Any) -> str:
        return samples_key({"weights": weights}, prompts, Decoding(**decoding), content)

    others = [
        key(weights="x"),
        key(prompts=PROMPTS[:1]),
        key(prompts=[PROMPTS[0], replace(PROMPTS[1], prefill="p")]),
        key(prompts=[PROMPTS[0], replace(PROMPTS[1], chat=False)]),
        key(content="d"),
        key(max_new_tokens=5),
        key(repetition_penalty=1.1),
        key(stop=("x",)),
        key(temperature=0.5),
        key(seed=1),
    ]
    assert len({key(), *others}) == 11
    assert key() == key()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_new_tokens": 0}, "decoding.max_new_tokens must be at least 1, got 0"),
        ({"temperature": -1}, "decoding.temperature must be at least 0, got -1"),
        ({"temperature": 1.0, "top_p": 0}, "decoding.top_p must be above 0, got 0"),
        ({"top_k": -2}, "decoding.top_k must be at least 0, got -2"),
        ({"samples": 3}, "decoding.samples must be 1 when decoding.temperature is 0, got 3"),
        ({"repetition_penalty": 0}, "decoding.repetition_penalty must be above 0, got 0"),
    ],
)
def test_impossible_decoding_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Decoding(**fields)


def test_published_forms_are_read(tmp_path: Path) -> None:
    rows = [
        {"task_id": "T/0", "completion": "x"},
        {"task_id": "T/0", "solution": "y"},
        {"task_id": "T/1", "solution": "z"},
    ]
    write_jsonl(tmp_path / "s.jsonl", rows)
    samples = read_samples(tmp_path / "s.jsonl")
    assert [(sample.task_id, sample.index, sample.completion, sample.whole) for sample in samples] == [
        ("T/0", 0, "x", False),
        ("T/0", 1, "y", True),
        ("T/1", 0, "z", True),
    ]
    with gzip.open(tmp_path / "s.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert read_samples(tmp_path / "s.jsonl.gz") == samples
    assert sample_rows(samples)[0]["task_id"] == "T/0"


@pytest.mark.parametrize("row", [{"completion": "x"}, {"task_id": "T/0"}, {"task_id": "T/0", "completion": None}])
def test_rows_without_text_or_id_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    write_jsonl(tmp_path / "s.jsonl", [row])
    with pytest.raises(UserError, match="row 1: expected `task_id` and `completion` or `solution`"):
        read_samples(tmp_path / "s.jsonl")


def test_ends_of_answers_are_counted() -> None:
    ends = ["end", "length", "stop", "length", "context"]
    samples = [Sample("t", "", "", number, finish=finish) for number, finish in enumerate(ends)]
    counts = finish_counts([*samples, Sample("t", "", "", generated=False)])
    assert counts == {"end": 1, "stop": 1, "length": 2, "context": 1}
    assert cut_off(counts) == 3
    assert finish_counts([Sample("t", "", "", generated=False)]) == {}


def test_our_own_files_keep_how_answers_ended(tmp_path: Path) -> None:
    samples = [Sample("t", "p", "x", finish="length", tokens=7)]
    write_jsonl(tmp_path / "own.jsonl", sample_rows(samples))
    assert read_samples(tmp_path / "own.jsonl") == samples
