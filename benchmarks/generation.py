"""Tokens per second of greedy generation: EvalPlus's decoder, transformers' `generate`, and this project's generator.

    python -m benchmarks.generation                          # an untrained pocket model: every answer has full length
    python -m benchmarks.generation --checkpoint runs/train/pocket-mix-s0

All three answer the same pocket problems with EvalPlus's prompt in float32; their answers are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.requests import render
from src.evaluation.generators.samples import Decoding, Prompt
from src.evaluation.generators.stopping import StopStrings
from src.models import load_tokenizer
from src.pocket.benchmarks import problems
from src.pocket.model import PocketModel

INSTRUCTION, RESPONSE = "Write a self-contained program:", "Here it is:"
STOPS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```\n")


@dataclass(frozen=True)
class Timed:
    """Answers by task, and seconds taken."""

    name: str
    answers: dict[str, str]
    seconds: float

    def tokens(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """Tokens of the answers as text: the one count that all decoders share."""
        return sum(map(len, tokenizer(list(self.answers.values()), add_special_tokens=False)["input_ids"]))


def ours(checkpoint: Path, prompts: Sequence[Prompt], decoding: Decoding) -> Timed:
    """All prompts in one call of `HFGenerator`."""
    generator = HFGenerator(device="cpu")
    generator.load(checkpoint)
    list(generator.generate(prompts[:2], decoding))
    start = time.perf_counter()
    samples = list(generator.generate(prompts, decoding))
    seconds = time.perf_counter() - start
    return Timed("ours", {one.task_id: one.completion.replace("\t", "    ") for one in samples}, seconds)


def plain_generate(checkpoint: Path, prompts: Sequence[Prompt], decoding: Decoding, batch: int) -> Timed:
    """`model.generate` on left-padded batches; stop strings are cut off afterward."""
    generator = HFGenerator(device="cpu")
    generator.load(checkpoint)
    model, tokenizer = generator.model, generator.tokenizer
    assert model is not None
    assert tokenizer is not None
    tokenizer.padding_side, stops = "left", StopStrings(decoding.stop, tokenizer)
    answers, seconds = dict[str, str](), 0.0
    for first in range(0, len(prompts), batch):
        some = prompts[first : first + batch]
        inputs = tokenizer(
            [render(prompt, tokenizer) for prompt in some], return_tensors="pt", padding=True, add_special_tokens=False
        )
        start = time.perf_counter()
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=decoding.max_new_tokens, do_sample=False)
        seconds += time.perf_counter() - start
        for prompt, row in zip(some, output[:, inputs["input_ids"].shape[1] :], strict=True):
            text, _ = stops.cut(stops.text(row.tolist()))
            answers[prompt.id] = text.replace("\t", "    ")
    return Timed(f"transformers generate, batches of {batch}", answers, seconds)


def evalplus(checkpoint: Path, rows: Sequence[dict[str, str]], decoding: Decoding) -> Timed:
    """EvalPlus's `HuggingFaceDecoder`, one problem at a time, as `evalplus.codegen` drives it."""
    from evalplus.provider.hf import HuggingFaceDecoder

    with contextlib.redirect_stdout(io.StringIO()):
        decoder = HuggingFaceDecoder(
            str(checkpoint), "humaneval", dtype="float32", max_new_tokens=decoding.max_new_tokens,
            instruction_prefix=INSTRUCTION, response_prefix=RESPONSE,
        )  # fmt: skip
    decoder.codegen(rows[0]["prompt"], do_sample=False, num_samples=1)
    start = time.perf_counter()
    answers = {
        row["task_id"]: decoder.codegen(row["prompt"].strip() + "\n", do_sample=False, num_samples=1)[0] for row in rows
    }
    seconds = time.perf_counter() - start
    return Timed("EvalPlus's decoder", answers, seconds)  # it replaces tabs with spaces, so the others do too here


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="default: an untrained pocket model")
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument(
        "--evalplus-problems", type=int, default=40, help="EvalPlus answers only this many, to save time"
    )
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    given = parser.parse_args()
    rows = problems("test", given.problems)
    benchmark = CodeBenchmark(
        "pocket", lambda split: rows, Decoding(given.new_tokens, stop=STOPS), strip=True,
        user_prompt=f"{INSTRUCTION}\n```\n{{prompt}}\n```\n", prefill=f"{RESPONSE}\n```python\n",
    )  # fmt: skip
    prompts, decoding = benchmark.prompts("test"), benchmark.decoding
    with tempfile.TemporaryDirectory() as scratch:
        place = given.checkpoint or PocketModel().write(Path(scratch) / "pocket")
        runs: list[Callable[[], Timed]] = [
            lambda: evalplus(place, rows[: given.evalplus_problems], decoding),
            lambda: plain_generate(place, prompts, decoding, batch=1),
            lambda: plain_generate(place, prompts, decoding, batch=len(prompts)),
            lambda: ours(place, prompts, decoding),
        ]
        timed = [min((run() for _ in range(given.repeats)), key=lambda one: one.seconds) for run in runs]
        report(timed, load_tokenizer(place))


def report(timed: Sequence[Timed], tokenizer: PreTrainedTokenizerBase) -> None:
    """Print a table with the ratio to the first row, and how many answers equal the last row's."""
    print(f"| decoder | tokens | seconds | tokens/s | ratio | answers equal to ours |\n|{'---|' * 6}")
    first = timed[0].tokens(tokenizer) / timed[0].seconds
    for one in timed:
        same = sum(text == timed[-1].answers[task] for task, text in one.answers.items())
        tokens = one.tokens(tokenizer)
        speed = tokens / one.seconds
        cells = (
            one.name,
            tokens,
            f"{one.seconds:.2f}",
            f"{speed:.0f}",
            f"{speed / first:.1f}x",
            f"{same}/{len(one.answers)}",
        )
        print("| " + " | ".join(map(str, cells)) + " |")
    versions = {name: version(name) for name in ("torch", "transformers", "evalplus")}
    print(json.dumps({**versions, "threads": torch.get_num_threads(), "machine": platform.machine()}))


if __name__ == "__main__":
    main()
