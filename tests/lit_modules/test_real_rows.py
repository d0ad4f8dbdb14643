"""Real rows through real tokenizers: a shrunken model of each family, trained, exported, reopened by transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from src.data.budget import Budget
from src.data.cache import token_table
from src.data.forms import codexglue
from src.data.shards import Tokenization
from src.data.sources import RecordSource
from src.lit_modules.datamodule import TrainingRows
from src.lit_modules.export import export_checkpoint
from src.lit_modules.fit import fit
from src.lit_modules.options import BatchOptions, FitOptions, OptimizerOptions
from src.models import choose_attention, draw_model, load_tokenizer, model_config
from tests.data.shared import needs_shared, shared

QWEN, DEEPSEEK = "qwen2.5-7b-instruct", "deepseek-coder-6.7b-instruct"
CODESUM_PROMPT = (
    "Write a concise doc comment for the function below. Return only the comment line(s), no additional text.\n"
    "```{code}```"
)


def sources() -> dict[str, RecordSource]:
    kodcode, functions = shared("data", "kodcode", "KodCode_*.json.gz"), shared("data", "codexglue")
    return {
        "codegen": RecordSource(
            "codegen", str(kodcode), "{prompt}", "solution", fields={"prompt": "question"}, id="question_id",
            limits={"train": 100},
        ),
        "codesum": RecordSource(
            "codesum", f"{functions}/python_test_extra.jsonl.gz", CODESUM_PROMPT, "docstring", form=codexglue, id="url",
            limits={"train": 100},
        ),
    }  # fmt: skip


@needs_shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("family", "steps"),
    [
        (QWEN, 5),
        pytest.param(DEEPSEEK, 5, marks=pytest.mark.slow),  # tests/stages/study/test_real_rows.py has it by default
        pytest.param(QWEN, 50, marks=pytest.mark.slow),
        pytest.param(DEEPSEEK, 50, marks=pytest.mark.slow),
    ],
)
def test_a_mixture_of_real_rows(tmp_path: Path, family: str, steps: int) -> None:
    folder = shared("data", "tokenizers", family)
    tokenizer = load_tokenizer(folder)
    network = draw_model(model_config(folder, None, shrink=True), seed=0)
    network.set_attn_implementation(choose_attention("auto", packed=True, gpu=False))
    tokenization = Tokenization(tokenizer, 512)
    tables, reports = {}, {}
    for task, source in sources().items():
        tables[task], reports[task] = token_table(lambda source=source: source.examples("train"), tokenization)
    assert (reports["codegen"].rows, reports["codesum"].rows) == (100, 100)
    before = float(torch.tensor(float(network.config.vocab_size)).log())
    batches = BatchOptions(
        Budget(batch_size=8 if steps == 50 else 2, steps=steps), micro_batch=4, max_length=512, packing=True
    )
    result = fit(
        network, TrainingRows(tables, tables if steps == 50 else {}, int(tokenizer.pad_token_id)),
        FitOptions(OptimizerOptions(1e-2), batches), tmp_path / "w",
    )  # fmt: skip
    assert result.cost.padded_tokens == result.cost.tokens
    assert steps < 50 or result.losses["all"] < 0.8 * before
    export_checkpoint(network, tokenizer, tmp_path / "out", torch.float32)
    reopened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ids = torch.from_numpy(tables["codesum"].row(0)[0].astype("int64"))[None]
    network.set_attn_implementation("sdpa")
    assert torch.equal(reopened(ids).logits, network(ids).logits)
    again = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.chat_template == tokenizer.chat_template
    assert again.eos_token_id == tokenizer.eos_token_id
