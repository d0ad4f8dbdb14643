"""Extension of vLLM's worker processes: load the weights of another checkpoint into the running model.

Named in `LLM(worker_extension_cls=...)` and mixed into vLLM's worker, in every tensor-parallel rank. Not yet run on a
GPU by this project.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.checkpoints import Checkpoint


class TakesCheckpoints:
    """Mixed into vLLM's worker, which has `model_runner`."""

    model_runner: Any

    def take_checkpoint(self, path: str) -> int:
        """Read every tensor of a checkpoint into the loaded model, which keeps its own shard of each.

        Returns:
            Number of tensors read.
        """
        stored = Checkpoint(Path(path))
        self.model_runner.model.load_weights((name, stored.tensor(name)) for name in stored.names)
        return len(stored.names)
