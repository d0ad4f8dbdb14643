"""Root schemas of the six scripts: every key a user may set, with its type and meaning.

Fields typed `Any` are filled by a config group (conf/<group>/*.yaml) whose nodes are the arguments of a callable. A key
that is neither here nor in such a node is an error, in a file as well as on the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from src.config.groups import register_group_list


@dataclass
class RunNames:
    """Name of the run for loggers and callbacks: `${run.name}` in their files; null: filled in at the start."""

    name: str | None = None  # null: the name of the run directory
    directory: str | None = None  # null: where the run writes until it is finished
    record: str | None = None  # null: its metrics.jsonl


@dataclass
class Common:
    """Keys of every script."""

    seed: int = 0  # of training and data order; masks of merges have merge.seed
    output: str | None = None  # run directory of this run; null: output_root/STAGE/NAME
    output_root: str = "runs"
    threads: int | None = None  # CPU threads per process; null: OMP_NUM_THREADS, else all cores (small networks: 1)
    logger: Any = None  # conf/logger: trackers that mirror the run directory, and metrics.jsonl while training
    run: RunNames = field(default_factory=RunNames)


@dataclass
class Parents:
    """Checkpoints of a merge or a diagnosis; null: the standard run directories of `model`."""

    base: str | None = None
    specialists: dict[str, Any] = field(default_factory=dict)  # task name -> directory


@dataclass
class TrainConfig(Common):
    """`train.py`."""

    model: Any = None  # conf/model
    strategy: Any = None  # conf/strategy: base, specialist, mix, merge
    task: str | None = None  # the specialist's task, a name of `tasks`; null: the first
    tasks: dict[str, Any] = field(default_factory=dict)  # conf/tasks: for the mixture, the merge and validation
    merge: Any = None  # conf/merge, for strategy=merge
    data: Any = None  # training rows to use, and the cache of their tokens
    mix: Any = None  # proportions of the tasks
    checkpoint: Any = None  # when to save and validate
    trainer: Any = None  # conf/trainer
    optimizer: Any = None  # conf/optimizer
    callbacks: Any = None  # conf/callbacks: what is measured and shown during training
    base: str | None = None  # checkpoint to start from; null: the model's own
    preview: int = 0  # N: print N rows per task as tokens with their loss, counts and lengths; train nothing
    dry_run: bool = False  # true: print steps, tokens, time, disk and all errors; train nothing


@dataclass
class MergeConfig(Common, Parents):
    """`merge.py`."""

    model: Any = None  # conf/model
    tasks: dict[str, Any] = field(default_factory=dict)  # conf/tasks, in the order of the coefficients
    merge: Any = None  # conf/merge
    search: Any = None  # conf/search: choose the point on validation data
    recipe: str | None = None  # a mergekit YAML, which names the parents and the method
    device: str = "cpu"  # of the arithmetic: cpu or cuda; the result is the same
    allow_pickle: bool = False  # true: also read pytorch_model.bin (weights only), not just safetensors
    save_weights: bool = True  # false: save only the recipe; evaluate.py then merges in memory
    adapter: Any = None  # exact or a rank: merge adapters into an adapter; null: into a full checkpoint
    compare: list[str] = field(default_factory=list)  # two or more checkpoints: print what fits together, merge nothing
    dry_run: bool = False  # true: print parents, differences, points, disk, memory, time and all errors; write nothing
    push_to_hub: str | None = None  # org/name: upload the written merge to the Hugging Face Hub
    push_private: bool = True  # false: create that repository for everyone to see
    verify: str | None = None  # an existing merge: compare its files with their hashes, recompute a sample of tensors
    verify_all: bool = False  # true: verify= recomputes all tensors


@dataclass
class EvaluateConfig(Common):
    """`evaluate.py`: a checkpoint, or existing samples, or existing predictions with references."""

    model: Any = None  # conf/model
    tasks: dict[str, Any] = field(default_factory=dict)  # conf/tasks: their benchmarks are run on a checkpoint
    benchmarks: dict[str, Any] = field(default_factory=dict)  # name -> keys of conf/benchmark/<name>.yaml to change
    benchmark: Any = None  # conf/benchmark: this one instead of the tasks' own
    generator: Any = None  # conf/generator
    sandbox: Any = None  # conf/sandbox
    checkpoint: str | None = None
    samples: str | None = None  # JSONL of generations: task_id and completion | solution
    predictions: str | None = None  # `id<TAB>text` lines, JSONL, or a JSON list
    references: str | None = None  # the same
    prediction_field: str | None = None  # field of the predictions' rows that holds the text; null: found by name
    reference_field: str | None = None  # the same for the references
    split: str | None = None  # test | validation; null: test, or the only split of benchmark=
    formats: list[str] = field(default_factory=list)  # also write the results for evalplus, lm_eval, model_index
    contamination: Any = None  # training data (file, pattern, Hub data set, or a list): are the items in it?
    contamination_keep: dict[str, Any] = field(default_factory=dict)  # only rows with field: value | [first, last]


@dataclass
class DiagnoseConfig(Common, Parents):
    """`diagnose.py`."""

    model: Any = None  # conf/model
    tasks: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, Any] = field(default_factory=dict)  # merges and others, measured against the base
    other_seeds: dict[str, Any] = field(default_factory=dict)  # task name -> its specialist with another training seed
    allow_pickle: bool = False  # true: also read pytorch_model.bin (weights only), not just safetensors
    threshold: float = 0.3  # smaller updates, relative to a tensor's largest, are zeroed for the study's correlation
    extra_thresholds: list[float] = field(default_factory=lambda: [0.1])  # the same in columns of their own
    top_share: float = 0.01  # of a tensor's elements: those whose overlap is measured
    predict: bool = False  # true: also measure the features of docs/predictor.md, and predict whether mixing wins
    predict_rows: int = 128  # validation rows per task for their losses and gradients
    predictor: str | None = None  # a file of src.predictor.refit; null: the project's own, if one is fitted
    spectra_rank: int = 16  # directions of the leading subspaces; 0: no subspaces and no effective rank, much faster


@dataclass
class CompareConfig(Common):
    """`compare.py`; `seed` is that of the bootstrap."""

    reference: str | None = None  # run directory of evaluate.py, or its items.csv
    runs: list[str] = field(default_factory=list)  # the same, each compared with the reference; []: list its answers
    resamples: int = 10_000  # bootstrap draws
    show: int = 3  # differing items of each run to print in full; all are in differences.csv
    preflight: str = "warn"  # confounds in the records: warn, strict (refuse to compare), off
    page_limit: int = 500  # problems on the HTML page, per run and benchmark


@dataclass
class StudyConfig(Common):
    """`study.py`."""

    study: Any = None  # conf/study
    executor: Any = None  # conf/executor: one job after the other, or several at a time
    dry_run: bool = False  # true: print the command of every run and run nothing
    report_only: bool = False  # true: only the report of finished runs, again; without any, that of reference= alone
    papers: bool = False  # with report_only: also every figure as PDF and SVG, for one column and for two
    reference: str | None = None  # published results beside ours: paper (arXiv 2601.21115), or a directory like it
    preflight: str = "warn"  # confounds of the study: warn (also above the verdict), strict (refuse), off
    wandb_report: str | None = None  # only: make the W&B Report of a finished study whose runs are in W&B


@cache
def register_schemas() -> None:
    """Put the schemas where the root YAMLs of conf/ find them (`defaults: [<script>_schema, ...]`)."""
    schemas = {
        "train": TrainConfig,
        "merge": MergeConfig,
        "evaluate": EvaluateConfig,
        "diagnose": DiagnoseConfig,
        "study": StudyConfig,
        "compare": CompareConfig,
    }
    for name, schema in schemas.items():
        node = OmegaConf.structured(schema)
        # The user chooses these keys; those of `benchmarks` are checked when conf/benchmark is composed.
        for open_field in ("specialists", "variants", "other_seeds", "contamination_keep", "benchmarks"):
            if open_field in node:
                node[open_field]._set_flag("struct", False)
        ConfigStore.instance().store(name=f"{name}_schema", node=node, provider="mixmerge")
    # Hydra copies all schemas for each group that it lists, over a hundred times for --help, and never changes them.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    register_group_list()
