from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.lit_modules.callbacks.weight_delta import WeightDelta
from src.lit_modules.options import OptimizerOptions
from tests.lit_modules import tiny
from tests.lit_modules.fitting import held, metrics, run


def test_sums_equal_numpy(tmp_path: Path) -> None:
    base, now, specialist = tiny.network(0), tiny.network(1), tiny.network(2)
    held(specialist, tmp_path / "codegen")
    rows = WeightDelta(1, {"codegen": str(tmp_path / "codegen")}).measure(now, held(base, tmp_path / "base"))
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
    network = tiny.network()
    run(
        tmp_path / "run", network, train={"a": tiny.rows("a", 8)}, validation={},
        optimizer=OptimizerOptions(1e-3, warmup=0.0), batches=tiny.batches(4, 4, steps=4),
        base=held(network, tmp_path / "base"), callbacks=[WeightDelta(2)],
    )  # fmt: skip
    rows = [row for row in metrics(tmp_path / "run") if "weights/l2/norm" in row]
    assert [row["step"] for row in rows] == [2, 4]
    layers = ("embed_tokens", "layers.0", "layers.1", "norm")
    names = [f"weights/{name}/{layer}" for layer in layers for name in ("l2", "relative_l2")]
    assert [name for name in rows[0] if "/" in name] == names
    assert 0 < rows[0]["weights/l2/layers.0"] < rows[1]["weights/l2/layers.0"]
