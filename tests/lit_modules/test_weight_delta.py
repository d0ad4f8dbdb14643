from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.lit_modules.callbacks.weight_delta import WeightDelta
from src.lit_modules.fit import fit
from src.lit_modules.options import OptimizerOptions, WatchOptions
from src.lit_modules.watch import Watched
from tests.lit_modules import tiny


@dataclass
class Held:
    tensors: dict[str, torch.Tensor]

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def ignored(trainer: Any, row: dict[str, Any]) -> None:
    """Takes the rows that a test does not look at."""


def held(network: torch.nn.Module) -> Held:
    return Held({name: value.detach().clone() for name, value in network.state_dict().items()})


def test_sums_equal_numpy() -> None:
    base, now, specialist = tiny.network(0), tiny.network(1), tiny.network(2)
    rows = WeightDelta(held(base), 1, ignored, {"codegen": held(specialist)}).measure(now)
    assert [row["layer"] for row in rows] == ["embed_tokens", "layers.0", "layers.1", "norm"]
    names = [name for name in base.state_dict() if "layers.1." in name]

    def flat(network: torch.nn.Module) -> Any:
        return np.concatenate([network.state_dict()[name].double().numpy().ravel() for name in names])

    update, other = flat(now) - flat(base), flat(specialist) - flat(base)
    row = rows[2]
    assert row["l2"] == pytest.approx(np.linalg.norm(update))
    assert row["relative_l2"] == pytest.approx(np.linalg.norm(update) / np.linalg.norm(flat(base)))
    assert row["pearson_codegen"] == pytest.approx(np.corrcoef(update, other)[0, 1])
    assert row["cosine_codegen"] == pytest.approx(update @ other / np.linalg.norm(update) / np.linalg.norm(other))
    assert np.isnan(rows[3]["cosine_codegen"])  # norm weights are all ones in each


def test_rows_while_training(tmp_path: Path) -> None:
    network, seen = tiny.network(), list[dict[str, Any]]()
    fit(
        network,
        tiny.tables({"a": tiny.rows("a", 8)}),
        {},
        pad_token=tiny.PAD,
        work_dir=tmp_path,
        optimizer=OptimizerOptions(1e-3, warmup=0.0),
        batches=tiny.batches(4, 4, steps=4),
        watch=Watched(WatchOptions(weight_delta=2), held(network)),
        on_record=seen.append,
    )
    rows = [row for row in seen if row["split"] == "weights"]
    assert [row["step"] for row in rows] == [2, 4]
    names = [
        f"{name}/{layer}"
        for layer in ("embed_tokens", "layers.0", "layers.1", "norm")
        for name in ("l2", "relative_l2")
    ]
    assert [name for name in rows[0] if "/" in name] == names
    assert 0 < rows[0]["l2/layers.0"] < rows[1]["l2/layers.0"]
