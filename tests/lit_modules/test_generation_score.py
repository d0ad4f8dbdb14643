from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.generators.samples import Decoding
from src.lit_modules.callbacks.generation_score import GenerationScore
from src.lit_modules.options import TrainerOptions
from src.utils.errors import UserError
from tests.lit_modules import tiny
from tests.lit_modules.fitting import TRAIN, assert_equal_weights, metrics, noisy, run, values

ROWS = [{"code": f"def f{n}(): return {n}", "docstring": "ab" * n} for n in range(1, 5)]
NAME = "generate/words/rouge_l"
SHORT = {"train": {"a": TRAIN["a"]}, "validation": {}, "batches": tiny.batches(2, 4, steps=5)}


def benchmark() -> SummaryBenchmark:
    decoding = Decoding(max_new_tokens=4)
    return SummaryBenchmark("words", lambda split: ROWS, decoding, metrics=["rouge_l"], limit=2)


def watching(every: int) -> GenerationScore:
    callback = GenerationScore(every, problems=2)
    callback.prepare([benchmark()], tiny.tokenizer(), lambda: pytest.fail("summaries need no judge"))
    return callback


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_scores_are_those_of_an_evaluation_and_the_training_is_unchanged(tmp_path: Path, precision: str) -> None:
    watched, alone = noisy(), noisy()
    trainer: Any = {"trainer": TrainerOptions(precision=precision)}
    run(tmp_path / "watched", watched, callbacks=[watching(2)], **SHORT, **trainer)
    run(tmp_path / "alone", alone, **SHORT, **trainer)
    assert_equal_weights(watched, alone)
    others = [row for row in metrics(tmp_path / "watched") if NAME not in row]
    assert others == metrics(tmp_path / "alone")
    scores = values(tmp_path / "watched", NAME)
    assert list(scores) == [2, 4, 5]
    if precision == "32-true":
        generator = HFGenerator(device="cpu")
        generator.attach(watched, tiny.tokenizer(), "")
        samples = list(generator.generate(benchmark().prompts("validation"), Decoding(max_new_tokens=4)))
        found = [score.value for score in benchmark().score(samples, "validation")]
        assert (len(found), scores[5]) == (2, pytest.approx(sum(found) / 2))


def test_a_backend_for_packed_rows_comes_back(tmp_path: Path) -> None:
    network = tiny.network()
    network.config._attn_implementation = "eager"
    network.train()
    found = watching(1).measure(network)
    assert list(found) == [NAME]
    assert (network.config._attn_implementation, network.training) == ("eager", True)
    assert network(torch.arange(5)[None]).logits.requires_grad


def test_several_processes_are_refused() -> None:
    class Trainer:
        world_size = 2

    with pytest.raises(UserError, match=r"callbacks\.generate needs one process, got 2.*trainer\.devices=1"):
        watching(1).setup(Trainer(), None, "fit")  # type: ignore[arg-type]
