"""One contender of `benchmarks.train_throughput`: python -m benchmarks.train_contenders NAME FOLDER

It trains for one epoch and prints one JSON line: seconds from the first step's start to the last one's end, tokens that
were fed to the network with their padding, mean loss, and memory.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

STEP_ROWS = 32
MICRO_BATCH = 8
LEARNING_RATE, WARMUP = 1e-4, 0.03

Rows = dict[str, list[dict[str, Any]]]


class Clock:
    """Seconds between the start and the end of training, and the tokens that went through the network."""

    def __init__(self) -> None:
        self.started, self.ended, self.fed = _now(), _now(), 0

    def count(self, network: PreTrainedModel) -> None:
        """Counts the ids of every forward pass."""
        embedding = network.get_input_embeddings()
        embedding.register_forward_pre_hook(lambda _, inputs: self._add(inputs[0]))

    def _add(self, ids: torch.Tensor) -> None:
        self.fed += ids.numel()


def ours(folder: Path, rows: Rows, clock: Clock) -> float:
    """This project's `fit`: global batches of rows, best-fit packed, attention inside documents only."""
    import lightning as L

    from src.data.budget import Budget
    from src.data.table import TokenTable
    from src.lit_modules.datamodule import TrainingRows
    from src.lit_modules.fit import METRICS, fit
    from src.lit_modules.options import BatchOptions, FitOptions, OptimizerOptions
    from src.models import choose_attention
    from src.utils.jsonl import read_jsonl

    class Timing(L.Callback):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            clock.started = _now()

        def on_train_batch_end(self, *_: Any) -> None:
            clock.ended = _now()

    network = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    network.set_attn_implementation(choose_attention("auto", packed=True, gpu=False))
    clock.count(network)
    tables = {
        task: TokenTable.build([f"{i}" for i in range(len(found))], [row["ids"] for row in found],
                               [row["prompt"] for row in found])
        for task, found in rows.items()
    }  # fmt: skip
    batches = BatchOptions(
        Budget(batch_size=STEP_ROWS, epochs=1), micro_batch=2, max_length=_limit(folder), packing=True
    )
    options = FitOptions(OptimizerOptions(LEARNING_RATE, warmup=WARMUP), batches)
    place = folder / f"ours-{time.time_ns()}"
    fit(network, TrainingRows(tables, {}, pad_token=0), options, place, callbacks=[Timing()])
    losses = [row["train/loss"] for row in read_jsonl(place / METRICS) if "train/loss" in row]
    return sum(losses) / len(losses)


def padded(folder: Path, rows: Rows, clock: Clock, **more: Any) -> float:
    """`Trainer` with batches padded to their longest row."""
    from transformers import DataCollatorForSeq2Seq

    data = [{"input_ids": row["ids"], "labels": _labels(row)} for found in rows.values() for row in found]
    network = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    clock.count(network)
    collator = DataCollatorForSeq2Seq(_Padder())
    arguments = TrainingArguments(
        str(folder / "padded"), per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=STEP_ROWS // MICRO_BATCH, **_shared(), **more,
    )  # fmt: skip
    trainer = Trainer(network, arguments, data_collator=collator, train_dataset=data, callbacks=[_Marks(clock)])
    return float(trainer.train().training_loss)


def grouped(folder: Path, rows: Rows, clock: Clock) -> float:
    """The same with rows of similar length in a batch."""
    return padded(folder, rows, clock, train_sampling_strategy="group_by_length")


def trl(folder: Path, rows: Rows, clock: Clock) -> float:
    """`SFTTrainer` with best-fit packing: one pack per forward pass, as many per step as hold its rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    limit = _limit(folder)
    data = [{"input_ids": row["ids"], "labels": _labels(row)} for found in rows.values() for row in found]
    network = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    clock.count(network)
    arguments = SFTConfig(
        str(folder / "trl"), packing=True, packing_strategy="bfd", max_length=limit, per_device_train_batch_size=1,
        gradient_accumulation_steps=_packs_per_step(folder, rows), pad_token="<pad>", **_shared(),
    )  # fmt: skip
    trainer = SFTTrainer(
        network, arguments, train_dataset=Dataset.from_list(data), processing_class=_tokenizer(),
        callbacks=[_Marks(clock)],
    )  # fmt: skip
    return float(trainer.train().training_loss)


def llamafactory(folder: Path, rows: Rows, clock: Clock) -> float:
    """LLaMA-Factory's own packing without contamination (`neat_packing`), collator and trainer."""
    from datasets import Dataset
    from llamafactory.data.collator import SFTDataCollatorWith4DAttentionMask
    from llamafactory.data.processor import PackedSupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments, FinetuningArguments, TrainingArguments
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

    class Ready(PackedSupervisedDatasetProcessor):  # type: ignore[misc]
        def _encode_data_example(self, prompt: Any, **_: Any) -> tuple[list[int], list[int]]:
            return list(prompt[0]["ids"]), _labels(prompt[0])

    limit, tokenizer = _limit(folder), _tokenizer()
    options = DataArguments(template="default", cutoff_len=limit, packing=True, neat_packing=True)
    template = get_template_and_fix_tokenizer(tokenizer, options)
    data = [row for found in rows.values() for row in found]
    columns: dict[str, list[Any]] = {
        name: [None] * len(data) for name in ("_system", "_tools", "_images", "_videos", "_audios")
    }
    columns |= {"_prompt": [[row] for row in data], "_response": [[row] for row in data]}
    packs = Ready(template, tokenizer, None, options).preprocess_dataset(columns)
    network = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
    clock.count(network)
    collator = SFTDataCollatorWith4DAttentionMask(
        template=template, model=network, pad_to_multiple_of=8, label_pad_token_id=-100, block_diag_attn=True,
        neat_packing=True, attn_implementation="sdpa", compute_dtype=torch.float32, tokenizer=tokenizer,
    )  # fmt: skip
    arguments = TrainingArguments(
        str(folder / "llamafactory"), per_device_train_batch_size=1, remove_unused_columns=False,
        gradient_accumulation_steps=_packs_per_step(folder, rows), **_shared(),
    )  # fmt: skip
    trainer = CustomSeq2SeqTrainer(
        finetuning_args=FinetuningArguments(), processor=None, model=network, args=arguments, data_collator=collator,
        train_dataset=Dataset.from_dict(packs), tokenizer=tokenizer, callbacks=[_Marks(clock)],
    )  # fmt: skip
    return float(trainer.train().training_loss)


CONTENDERS: dict[str, Callable[[Path, Rows, Clock], float]] = {
    "ours": ours, "padded": padded, "grouped": grouped, "trl": trl, "llamafactory": llamafactory,
}  # fmt: skip


class _Marks(TrainerCallback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.started = _now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.ended = _now()


class _Padder:
    """The part of a tokenizer that `DataCollatorForSeq2Seq` needs; rows have ids already."""

    padding_side, pad_token_id = "right", 0
    deprecation_warnings: dict[str, bool] = {"Asking-to-pad-a-fast-tokenizer": True}  # noqa: RUF012 - as it reads it

    def pad(self, features: list[dict[str, Any]], **_: Any) -> Any:
        """Ids and labels side by side."""
        from transformers import BatchEncoding

        width = max(len(row["input_ids"]) for row in features)
        return BatchEncoding({
            "input_ids": torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in features]),
            "attention_mask": torch.tensor(
                [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in features]
            ),
        })  # fmt: skip


def _now() -> tuple[float, float]:
    """Wall time and CPU time."""
    return time.perf_counter(), time.process_time()


def _shared() -> dict[str, Any]:
    return {
        "num_train_epochs": 1, "learning_rate": LEARNING_RATE, "lr_scheduler_type": "cosine", "warmup_steps": 1,
        "optim": "adamw_torch_fused", "weight_decay": 0.0, "max_grad_norm": 1.0, "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
        "logging_steps": 1, "seed": 0,
    }  # fmt: skip


def _labels(row: dict[str, Any]) -> list[int]:
    return [-100] * row["prompt"] + row["ids"][row["prompt"] :]


def _limit(folder: Path) -> int:
    return int(json.loads((folder / "work.json").read_text(encoding="utf-8"))["max_length"])


def _packs_per_step(folder: Path, rows: Rows) -> int:
    """Number of packs that hold the rows of a step on average."""
    data = [row for found in rows.values() for row in found]
    packs = -(-sum(len(row["ids"]) for row in data) // _limit(folder))
    return max(1, round(packs / -(-len(data) // STEP_ROWS)))


def _tokenizer() -> Any:
    """TRL needs a tokenizer, although rows already have ids."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


def _warm_up(name: str, folder: Path, rows: Rows) -> None:
    """Train on a few rows first, so that threads, caches and imports are ready."""
    CONTENDERS[name](folder, {task: found[:4] for task, found in rows.items()}, Clock())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def main() -> None:
    """The command."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    rows: Rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    clock = Clock()
    with _silent():
        _warm_up(name, folder, rows)
        loss = CONTENDERS[name](folder, rows, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    wall, processor = (end - start for start, end in zip(clock.started, clock.ended, strict=True))
    result = {
        "seconds": wall, "processor_seconds": processor, "fed_tokens": clock.fed, "loss": loss, "peak_memory_gib": peak,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
