"""Score a checkpoint, existing generations, or existing summaries.

python evaluate.py checkpoint=runs/train/pocket-mix-s0
python evaluate.py checkpoint=DIR split=validation benchmark=pocket_codegen
python evaluate.py samples=FILE.jsonl benchmark=humaneval
python evaluate.py samples=FILE.jsonl benchmark=mbpp contamination=TRAINING_FILE
python evaluate.py benchmark=mbpp contamination=TRAINING_FILE          is the training data contaminated?
python evaluate.py predictions=FILE references=FILE benchmark=codexglue
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.config.checks import check_evaluate
from src.config.command_line import Script
from src.config.schemas import register_schemas
from src.stages.benchmarks import with_split
from src.stages.job import Job

register_schemas()
script = Script()


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    with script.job(cfg.threads):
        job = with_split(Job.current("evaluate", cfg))
        check_evaluate(job.cfg)
        # torch is imported here, so that --help, mistyped keys and missing ones answer at once
        from src.stages.evaluate.run import evaluate, show

        show(evaluate(job))


if __name__ == "__main__":
    script.run(main)
