"""Loss, perplexity and accuracy of the answer tokens of each task, as one torchmetrics metric.

K tasks, P predicted tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchmetrics import Metric

TOGETHER = "all"  # name for the metrics over the tokens of all tasks
NAMES = ("loss", "perplexity", "accuracy")


class TaskMetrics(Metric):
    """Averages over answer tokens, per task and, as `all`, over all tasks.

    The states are float64 sums, so micro-batches and ranks of any size give the same averages. All tasks share them:
    `compute` synchronizes three tensors over the ranks, however many tasks there are.

    Args:
        tasks: Names of the tasks, in the order of their numbers.
    """

    full_state_update = False
    losses: torch.Tensor
    correct: torch.Tensor
    tokens: torch.Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        for state in ("losses", "correct", "tokens"):
            self.add_state(state, torch.zeros(len(self.tasks), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, task: int, losses: torch.Tensor, correct: torch.Tensor) -> None:
        """Add tokens of one task.

        Args:
            task: Its number.
            losses: Cross-entropy of each token (P).
            correct: Whether the most probable token is the right one (P).
        """
        self.losses[task] += losses.double().sum()
        self.correct[task] += correct.sum()
        self.tokens[task] += len(losses)

    def compute(self) -> dict[str, torch.Tensor]:
        """`<task>/loss`, `<task>/perplexity` and `<task>/accuracy` of each task and of `all`."""
        found = dict[str, torch.Tensor]()
        sums = torch.stack([self.losses, self.correct, self.tokens], dim=1)  # K, 3
        for task, (losses, correct, tokens) in zip((*self.tasks, TOGETHER), (*sums, sums.sum(dim=0)), strict=True):
            loss = losses / tokens
            found |= {
                f"{task}/{name}": value for name, value in zip(NAMES, (loss, loss.exp(), correct / tokens), strict=True)
            }
        return found
