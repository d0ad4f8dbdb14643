from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from src.data.examples import Example
from src.lit_modules.options import CheckpointOptions, OptimizerOptions
from src.utils.errors import Stopped, UserError
from tests.lit_modules import tiny
from tests.lit_modules.fitting import TRAIN, run, values

ROOT = Path(__file__).resolve().parents[2]


def test_overfits_and_reports_what_it_did(tmp_path: Path) -> None:
    network = tiny.network()
    rows = {"a": TRAIN["a"]}
    result = run(tmp_path, network, train=rows, validation=rows, optimizer=OptimizerOptions(2e-2),
                 batches=tiny.batches(3, 9, steps=80))  # fmt: skip
    assert result.losses["a"] < 0.1
    assert result.losses["all"] == result.losses["a"]
    assert (result.cost.steps, result.selected_step) == (80, 80)
    answer = sum(len(row.answer) + 1 for row in TRAIN["a"])  # bytes and the end token
    assert result.cost.answer_tokens == 80 * answer


def test_epochs_end_with_a_smaller_batch(tmp_path: Path) -> None:
    result = run(tmp_path, tiny.network(), batches=tiny.batches(2, 4, epochs=1.5))
    assert result.cost.steps == 6  # 21 rows by 4
    answer = sum(len(row.answer) + 1 for rows in TRAIN.values() for row in rows)
    assert answer < result.cost.answer_tokens < 2 * answer


def test_accumulation_is_exact(tmp_path: Path) -> None:
    """8 x 1, 2 x 4 and 1 x 8 rows give one loss and one update, since all answer tokens of a step weigh the same."""
    networks = []
    for micro in (1, 4, 8):
        networks.append(tiny.network())
        batches = tiny.batches(micro, 8, steps=5)
        # a large eps keeps AdamW from blowing up the sign of gradients that are rounding noise
        run(tmp_path / str(micro), networks[-1], batches=batches, optimizer=OptimizerOptions(3e-2, eps=1e-2))
    losses = [list(values(tmp_path / micro, "train/loss").values()) for micro in ("1", "4", "8")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)
    for name, value in networks[0].state_dict().items():
        for other in networks[1:]:
            torch.testing.assert_close(other.state_dict()[name], value, atol=1e-5, rtol=0)


def test_loss_is_the_mean_over_answer_tokens(tmp_path: Path) -> None:
    """Against transformers' own loss with the labels masked by hand."""
    network, tokenizer = tiny.network(), tiny.tokenizer()
    rows = [Example("0", "a", "hi", "a long answer"), Example("1", "a", "a longer prompt", "no")]
    total, count = 0.0, 0
    for row in rows:
        prompt = tokenizer(f"<|im_start|>user\n{row.prompt}<|im_end|>\n<|im_start|>assistant\n").input_ids
        ids = torch.tensor([prompt + tokenizer(f"{row.answer}<|im_end|>").input_ids])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        answer = ids.shape[1] - len(prompt)
        with torch.no_grad():
            total, count = total + float(network(input_ids=ids, labels=labels).loss) * answer, count + answer
    batches = tiny.batches(1, 2, steps=1)
    result = run(tmp_path, network, train={"a": rows}, validation={"a": rows}, batches=batches)
    assert values(tmp_path, "train/loss")[1] == pytest.approx(total / count, rel=1e-5)
    assert result.losses["a"] == pytest.approx(total / count, rel=1e-5)  # the first step has a rate of 0


def test_nan_stops_with_the_rows_named(tmp_path: Path) -> None:
    network = tiny.network()
    with torch.no_grad():
        network.model.norm.weight.fill_(float("nan"))
    with pytest.raises(
        Stopped, match=r"nan at step 1; no checkpoint had been saved yet.*rows of the batch: [ab]/[ab]\d"
    ):
        run(tmp_path, network)


def test_another_run_in_the_same_place(tmp_path: Path) -> None:
    run(tmp_path, tiny.network(), batches=tiny.batches(2, 4, steps=1))
    with pytest.raises(UserError, match=r"holds a different run.*budget was .*'steps': 1.* is now .*'steps': 2"):
        run(tmp_path, tiny.network(), batches=tiny.batches(2, 4, steps=2))


def test_when_a_run_is_validated_is_no_part_of_it_unless_the_best_step_is_chosen(tmp_path: Path) -> None:
    steps = tiny.batches(2, 4, steps=1)
    for every in (2, 3):
        run(tmp_path / "last", tiny.network(), batches=steps, checkpoints=CheckpointOptions(validate_every=every))
    best = [CheckpointOptions(validate_every=every, select="best") for every in (2, 3)]
    run(tmp_path / "best", tiny.network(), batches=steps, checkpoints=best[0])
    with pytest.raises(UserError, match="validate_every was 2, is now 3"):
        run(tmp_path / "best", tiny.network(), batches=steps, checkpoints=best[1])


def test_no_output_and_no_litter(tmp_path: Path) -> None:
    script = "import tests.lit_modules.fitting as t, tests.lit_modules.tiny as n, pathlib;"
    script += f"t.run(pathlib.Path({str(tmp_path / 'run')!r}), n.network())"
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {script}"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), time.perf_counter() - started
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["checkpoints", "fit.json", "metrics.jsonl"]
