"""Prompts, samples, and the JSONL files between generation and scoring."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

from filelock import FileLock
from pydantic import Field, Strict

from src.evaluation.generators.foreign import evalplus_rows, lm_eval_rows
from src.utils.errors import UserError
from src.utils.files import sha256_file, sha256_json
from src.utils.jsonl import iterate_jsonl, read_sealed, sealed_line
from src.utils.progress import progress_bar
from src.utils.validation import checked_dataclass

FINISH = ("end", "stop", "length", "context")
CUT_OFF = ("length", "context")
CUT_OFF_WARNING = 0.01  # share of cut-off answers above which a score is not to be trusted without a look
FORMS = (
    "expected a .jsonl or .jsonl.gz file, or a directory of whole programs such as HumanEval_0/0.py, or EvalPlus's "
    "eval_results.json"
)


@dataclass(frozen=True)
class Prompt:
    """A prompt.

    Attributes:
        id: Id of the problem or row; unique in its benchmark.
        text: The user turn of a chat, or raw text to continue.
        prefill: Beginning of the assistant turn that the model continues (chat only).
        chat: Render through the tokenizer's chat template; False continues `text` as it is.
    """

    id: str
    text: str
    prefill: str = ""
    chat: bool = True


@checked_dataclass("decoding")
class Decoding:
    """Decoding settings; every field can change a score, so all of them are part of the sample cache key.

    Attributes:
        max_new_tokens: Maximum length of an answer, in tokens.
        temperature: 0 is greedy.
        top_p: Nucleus mass in (0, 1]; 1 keeps all.
        top_k: Number of most probable tokens kept; 0 keeps all.
        samples: Answers per prompt.
        repetition_penalty: Divides positive (multiplies negative) logits of tokens seen in prompt or answer.
        stop: The answer ends before the first of these strings.
        seed: Answer i of a prompt is drawn from (seed, prompt id, i), no matter what else is in its batch.
    """

    max_new_tokens: Annotated[int, Field(ge=1)] = 768
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    samples: Annotated[int, Field(ge=1)] = 1
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.0
    stop: Annotated[tuple[str, ...], Strict(False)] = ()  # YAML has lists alone
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples > 1 and self.temperature == 0:
            raise UserError(f"decoding.samples must be 1 when decoding.temperature is 0, got {self.samples}")


@dataclass(frozen=True)
class Sample:
    """One answer.

    Attributes:
        task_id: `Prompt.id`.
        prompt: The text the model saw, chat markup included.
        completion: The text it generated after that, without end token and stop string.
        index: Index among the prompt's samples.
        tokens: Number of generated tokens, the end token included.
        finish: `"end"` (end token), `"stop"` (stop string), `"length"`, or `"context"` (the prompt left no room).
        whole: The completion is a whole program, to be graded as it is (`solution` of a file).
        generated: One of our generators wrote it, as an answer to `prompt`; False: it comes from an existing file.
    """

    task_id: str
    prompt: str
    completion: str
    index: int = 0
    tokens: int = 0
    finish: str = "end"
    whole: bool = False
    generated: bool = True


SAMPLE_FIELDS = {field.name for field in dataclasses.fields(Sample)}


class Generator(Protocol):
    """A loaded model that answers prompts."""

    def generate(
        self, prompts: Sequence[Prompt], decoding: Decoding, skip: frozenset[tuple[str, int]]
    ) -> Iterator[Sample]:
        """Yield each answer as it finishes, in any order, except the (prompt id, sample index) pairs in `skip`."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what determines its answers (weights, tokenizer, template, arithmetic) as JSON values."""
        ...


def samples_key(identity: dict[str, Any], prompts: Sequence[Prompt], decoding: Decoding, benchmark: str) -> str:
    """Hash everything that a set of samples depends on, so that the cache key is never a path.

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
    """Answer all prompts; answers from an interrupted call are kept, and only the rest is generated.

    Args:
        generator: Called only if an answer is missing.
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
        # an answer of another form is one of another version
        known = (Sample(**row) for row in read_sealed(path) if row.keys() == SAMPLE_FIELDS)
        done = {(sample.task_id, sample.index): sample for sample in known}
        if any(pair not in done for pair in wanted):
            with path.open("a", encoding="utf-8") as file, progress_bar() as bar:
                task = bar.add_task(label, total=len(wanted), completed=len(done))
                for sample in generator.generate(prompts, decoding, frozenset(done)):
                    file.write(sealed_line(asdict(sample)))
                    file.flush()
                    done[sample.task_id, sample.index] = sample
                    bar.advance(task)
    return [done[pair] for pair in wanted]


def read_samples(path: Path) -> list[Sample]:
    """Read samples from a `.jsonl(.gz)` file with `task_id` and `completion` or `solution`, or a directory of programs.

    Files of results are read, too: EvalPlus's `eval_results.json` with its solutions, and lm-eval's `samples_*.jsonl`.

    Those of one task are numbered in the order of the file. A directory holds whole programs as `<task>/<number>.py`,
    where `HumanEval_0` is the task `HumanEval/0` (EvalPlus's second form).

    Raises:
        UserError: It is neither, a row lacks `task_id` or has neither text, or a directory holds no programs.
    """
    found = _programs(path) if path.is_dir() else _rows(path)
    samples, counter = [], Counter[str]()
    for sample in found:
        samples.append(dataclasses.replace(sample, index=counter[sample.task_id]))
        counter[sample.task_id] += 1
    return samples


def sample_rows(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Return samples as the objects of a JSONL file."""
    return [dataclasses.asdict(sample) for sample in samples]


def finish_counts(samples: Iterable[Sample]) -> dict[str, int]:
    """Count the answers of our generators by `Sample.finish`; empty if there are none."""
    found = Counter(sample.finish for sample in samples if sample.generated)
    return {reason: found[reason] for reason in (*FINISH, *found)} if found else {}


def cut_off(counts: Mapping[str, int]) -> int:
    """Count the answers that a limit on the length ended, from `finish_counts`."""
    return sum(counts.get(reason, 0) for reason in CUT_OFF)


def samples_hash(path: Path) -> str:
    """Hash the content that `read_samples` reads."""
    if path.is_file():
        return sha256_file(path)
    return sha256_json({f"{file.parent.name}/{file.name}": sha256_file(file) for file in _program_files(path)})


def _rows(path: Path) -> Iterator[Sample]:
    if path.name.endswith((".json", ".json.gz")):
        rows: Iterable[tuple[str, dict[str, Any]]] = evalplus_rows(path)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        rows = (
            (f"{path}, row {number}", answer)
            for number, row in enumerate(iterate_jsonl(path), 1)
            for answer in (lm_eval_rows(row) if "doc" in row else [row])
        )
    else:
        raise UserError(f"samples={path}: {FORMS}")
    for place, row in rows:
        text = row.get("solution", row.get("completion"))
        if not isinstance(row.get("task_id"), str) or not isinstance(text, str):
            raise UserError(f"{place}: expected `task_id` and `completion` or `solution`, got {sorted(row)}")
        sample = Sample(row["task_id"], str(row.get("prompt", "")), text, whole="solution" in row, generated=False)
        if row.get("generated") is True:  # our own file
            tokens, finish = int(row.get("tokens", 0)), str(row.get("finish", "end"))
            sample = dataclasses.replace(sample, generated=True, tokens=tokens, finish=finish)
        yield sample


def _programs(directory: Path) -> Iterator[Sample]:
    files = _program_files(directory)
    if not files:
        raise UserError(f"samples={directory} holds no programs; {FORMS}")
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text ({error.reason})") from error
        yield Sample(path.parent.name.replace("_", "/"), "", text, whole=True, generated=False)


def _program_files(directory: Path) -> list[Path]:
    files = (path for path in directory.glob("*/*.py") if path.stem.isdigit())
    return sorted(files, key=lambda path: (path.parent.name, int(path.stem)))
