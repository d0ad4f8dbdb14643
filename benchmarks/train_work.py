"""Real rows and a small model, as files: the work of all contenders of `benchmarks.train_throughput`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from src.data.cache import token_table
from src.data.forms import codexglue
from src.data.mixture import fraction_of
from src.data.shards import Tokenization
from src.data.sources import RecordSource
from src.data.table import TokenTable
from src.models import load_tokenizer

CODESUM_PROMPT = (
    "Write a concise doc comment for the function below. Return only the comment line(s), no additional text.\n"
    "```{code}```"
)
PAD = 0  # after renumbering
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Work:
    """The rows of an epoch.

    Args:
        rows: Number of rows.
        tokens: Number of prompt and answer tokens.
        answer_tokens: Number of tokens with loss.
        max_length: Longest row, and size of a pack.
        parameters: Number of parameters of the model.
        vocabulary: Token ids that occur, and the one for padding.
    """

    rows: int
    tokens: int
    answer_tokens: int
    max_length: int
    parameters: int
    vocabulary: int


def prepare(data: Path, folder: Path, rows: int, max_length: int) -> Work:
    """Write `rows.json` (by task: ids of each row, tokens of its prompt), `model/` and `work.json` into a folder."""
    tables = real_tables(data, load_tokenizer(data / "tokenizers" / "qwen2.5-7b-instruct"), max_length)
    tables = {task: fraction_of(table, min(1.0, rows / 2 / len(table)), task, 0) for task, table in tables.items()}
    listed = {task: [table.row(index)[0] for index in range(len(table))] for task, table in tables.items()}
    used = np.unique(np.concatenate([row for found in listed.values() for row in found]))
    renumbered = {
        task: [{"ids": (np.searchsorted(used, row) + 1).tolist(), "prompt": int(table.prompts[index])}
               for index, row in enumerate(listed[task])]
        for task, table in tables.items()
    }  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(renumbered), encoding="utf-8")
    network = small_network(len(used) + 1)
    network.save_pretrained(folder / "model")
    work = Work(
        sum(map(len, tables.values())),
        int(sum(table.lengths.sum() for table in tables.values())),
        int(sum(table.answer_lengths.sum() for table in tables.values())),
        max_length,
        network.num_parameters(),
        len(used) + 1,
    )
    (folder / "work.json").write_text(json.dumps(asdict(work)), encoding="utf-8")
    return work


def real_tables(data: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> dict[str, TokenTable]:
    """KodCode and CodeXGLUE (Python and Java) rows as tokens."""
    sources = {
        "codegen": [
            RecordSource(
                "codegen", str(data / "kodcode" / "KodCode_*.json.gz"), "{prompt}", "solution",
                fields={"prompt": "question"},
            )
        ],
        "codesum": [
            RecordSource("codesum", str(data / "codexglue" / name), CODESUM_PROMPT, "docstring", form=codexglue)
            for name in ("python_test_extra.jsonl.gz", "java_test_sample500.jsonl.gz")
        ],
    }  # fmt: skip
    tokenization = Tokenization(tokenizer, max_length)
    tables = {}
    for task, nodes in sources.items():
        rows = [row for source in nodes for row in source.examples("train")]
        tables[task], _ = token_table(lambda rows=rows: rows, tokenization, label=task)
    return tables


def small_network(vocabulary: int) -> Qwen2ForCausalLM:
    """A Qwen2 with the proportions of the 1.5B model, whose training on a CPU is bound by matrix products."""
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=384, intermediate_size=2240, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, pad_token_id=PAD,
        bos_token_id=None, eos_token_id=None, attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    return Qwen2ForCausalLM(config)
