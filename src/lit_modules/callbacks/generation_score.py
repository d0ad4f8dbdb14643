"""Scores of generated answers to a few validation problems during training (conf/callbacks/generate.yaml)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

import lightning as L
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from src.evaluation.benchmarks.code import CodeBenchmark
from src.evaluation.benchmarks.summary import SummaryBenchmark
from src.evaluation.generators.hf import HFGenerator
from src.evaluation.grading.program_judge import ProgramJudge
from src.lit_modules.loggers import log_values
from src.lit_modules.options import require_positive
from src.lit_modules.sft import SupervisedFineTuning
from src.utils.errors import UserError

KEY = "callbacks.generate"
SPLIT = "validation"
ATTENTION = "sdpa"  # backends for packed rows cannot read a cache of keys and values
Benchmark = CodeBenchmark | SummaryBenchmark


class GenerationScore(L.Callback):
    """Log `generate/<benchmark>/<metric>` every N steps and after the last one: means over a few validation problems.

    Answers and their scores are those of `evaluate.py split=validation`; the training itself is not changed.

    Args:
        every_steps: Steps between measurements.
        problems: Maximum number of problems per benchmark, evenly spaced.

    Raises:
        UserError: A number is below 1.
    """

    def __init__(self, every_steps: int, problems: int = 20) -> None:
        require_positive(every_steps, f"{KEY}.every_steps")
        require_positive(problems, f"{KEY}.problems")
        self.every_steps, self.problems = every_steps, problems
        self.benchmarks: Sequence[Benchmark] = ()
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.judge: Callable[[], ProgramJudge] | None = None

    def prepare(
        self, benchmarks: Sequence[Benchmark], tokenizer: PreTrainedTokenizerBase, judge: Callable[[], ProgramJudge]
    ) -> None:
        """Set what a callback's YAML file does not know.

        Args:
            benchmarks: Those with a validation split, cut to `problems`.
            tokenizer: Of the network.
            judge: Returns the grader of programs.

        Raises:
            UserError: Their files are missing.
        """
        for benchmark in benchmarks:
            benchmark.prompts(SPLIT)
        self.benchmarks, self.tokenizer, self.judge = benchmarks, tokenizer, judge

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a sharded network, whose ranks would have to decode in step.

        Raises:
            UserError: There are several processes.
        """
        if trainer.world_size > 1:
            raise UserError(
                f"{KEY} needs one process, got {trainer.world_size}: a network sharded over several cannot generate. "
                "Leave it out of callbacks=[...], or set trainer.devices=1"
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Generate and score if it is due."""
        step = trainer.global_step
        if step == trainer.max_steps or step % self.every_steps == 0:
            assert isinstance(pl_module, SupervisedFineTuning)
            with trainer.precision_plugin.val_step_context():
                log_values(trainer, self.measure(pl_module.network))

    def measure(self, network: PreTrainedModel) -> dict[str, float]:
        """Mean scores of the network's answers, by the names under which they are logged."""
        assert self.tokenizer is not None, "not prepared"
        generator = HFGenerator(device=str(network.device))
        found = dict[str, list[float]]()
        with _for_generation(network):
            generator.attach(network, self.tokenizer, "")
            for benchmark in self.benchmarks:
                samples = list(generator.generate(benchmark.prompts(SPLIT), benchmark.decoding))
                for score in self._scores(benchmark, samples):
                    found.setdefault(f"generate/{score.benchmark}/{score.metric}", []).append(score.value)
        return {name: fmean(values) for name, values in found.items()}

    def _scores(self, benchmark: Benchmark, samples: Sequence[Any]) -> Sequence[Any]:
        if isinstance(benchmark, SummaryBenchmark):
            return benchmark.score(samples, SPLIT)
        assert self.judge is not None, "not prepared"
        return benchmark.score(samples, SPLIT, self.judge())


@contextlib.contextmanager
def _for_generation(network: PreTrainedModel) -> Iterator[None]:
    """Put a network in evaluation mode with an attention that takes cached keys and values; restore both on exit."""
    before = network.config._attn_implementation
    network.config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        network.config._attn_implementation = before
        network.train()
