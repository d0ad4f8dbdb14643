"""Prompts, samples, and the JSONL file between generating and scoring."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.progress import progress_bar


@dataclass(frozen=True)
class Prompt:
    """What a model is asked.

    Attributes:
        id: The problem or row; unique in its benchmark.
        text: The user turn of a chat, or raw text to continue.
        prefill: Beginning of the assistant turn that the model continues (chat only).
        system: System turn; None leaves it to the chat template.
        chat: Render through the tokenizer's chat template; False continues `text` as it is.
    """

    id: str
    text: str
    prefill: str = ""
    system: str | None = None
    chat: bool = True


@dataclass(frozen=True)
class Decoding:
    """How answers are drawn; every field can change a score, so all of them enter the samples' key.

    Attributes:
        max_new_tokens: Longest answer, in tokens.
        temperature: 0 is greedy.
        top_p: Nucleus mass in (0, 1]; 1 keeps all.
        top_k: Most probable tokens kept; 0 keeps all.
        samples: Answers a prompt.
        repetition_penalty: Divides positive (multiplies negative) logits of tokens seen in prompt or answer.
        stop: The answer ends before the first of these strings.
        seed: Answer i of a prompt is drawn from (seed, prompt id, i), whatever else is in its batch.
    """

    max_new_tokens: int = 768
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    samples: int = 1
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", tuple(self.stop))
        wrong = [
            f"{name} {getattr(self, name)} (expected {expected})"
            for name, expected, right in (
                ("max_new_tokens", "1 or more", self.max_new_tokens >= 1),
                ("temperature", "0 or more", self.temperature >= 0),
                ("top_p", "above 0, up to 1", 0 < self.top_p <= 1),
                ("top_k", "0 or more", self.top_k >= 0),
                ("samples", "1 or more", self.samples >= 1),
                ("samples", "1 when temperature is 0", self.samples == 1 or self.temperature > 0),
                ("repetition_penalty", "above 0", self.repetition_penalty > 0),
            )
            if not right
        ]
        if wrong:
            raise UserError(f"decoding: {'; '.join(wrong)}")


@dataclass(frozen=True)
class Sample:
    """One answer.

    Attributes:
        task_id: `Prompt.id`.
        prompt: The text the model saw, chat markup included.
        completion: What it wrote after that, without end token and stop string.
        index: Which of the prompt's samples.
        tokens: Tokens it generated, the end token included.
        finish: `"end"` (end token), `"stop"` (stop string), `"length"`, or `"context"` (the prompt left no room).
        whole: The completion is a whole program, to be judged as it stands (`solution` of a file).
        generated: One of our generators wrote it, as an answer to `prompt`; False: somebody else's file holds it.
    """

    task_id: str
    prompt: str
    completion: str
    index: int = 0
    tokens: int = 0
    finish: str = "end"
    whole: bool = False
    generated: bool = True


class Generator(Protocol):
    """A loaded model that answers prompts."""

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]]
    ) -> Iterator[Sample]:
        """Yield each answer as it is finished, in any order, but for those (prompt id, sample index) in `skip`."""
        ...

    def identity(self) -> dict[str, Any]:
        """What decides its answers: weights fingerprint, tokenizer and template, arithmetic; JSON values."""
        ...


def samples_key(identity: dict[str, Any], prompts: Sequence[Prompt], decoding: Decoding, benchmark: str) -> str:
    """Names a set of samples by what they follow from, never by a path.

    Args:
        identity: `Generator.identity()`.
        prompts: All prompts of the benchmark's split.
        decoding: How answers are drawn.
        benchmark: Content hash of the benchmark.

    Returns:
        A hex SHA-256.
    """
    parts = {"generator": identity, "benchmark": benchmark, "decoding": asdict(decoding)}
    return sha256_json({**parts, "prompts": [asdict(prompt) for prompt in prompts]})


def generate_samples(
    generator: Generator,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    directory: Path,
    key: str,
    label: str = "samples",
) -> list[Sample]:
    """Answer all prompts; what an interrupted call has written is kept and only the rest is generated.

    Args:
        generator: Called only when something is missing.
        prompts: With unique ids.
        decoding: Its `samples` answers are drawn for each prompt.
        directory: Holds `<key>.jsonl`, written line by line.
        key: From `samples_key`.
        label: For the progress bar.

    Returns:
        Samples in the order of `prompts`, those of one prompt by index.
    """
    wanted = [(prompt.id, index) for prompt in prompts for index in range(decoding.samples)]
    assert len(set(wanted)) == len(wanted), "prompt ids must be unique"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{key}.jsonl"
    with FileLock(f"{path}.lock"):
        done = {(sample.task_id, sample.index): sample for sample in _recover(path)}
        if any(pair not in done for pair in wanted):
            with path.open("a", encoding="utf-8") as file, progress_bar() as bar:
                task = bar.add_task(label, total=len(wanted), completed=len(done))
                for sample in generator.generate(prompts, decoding, frozenset(done)):
                    file.write(json.dumps(asdict(sample), ensure_ascii=False) + "\n")
                    file.flush()
                    done[sample.task_id, sample.index] = sample
                    bar.advance(task)
    return [done[pair] for pair in wanted]


def _recover(path: Path) -> list[Sample]:
    """Whole lines of a file that a killed process may have left with half a last line, which is cut off."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return [Sample(**json.loads(line)) for line in whole.splitlines()]
