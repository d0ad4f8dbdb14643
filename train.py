"""Fine-tune a specialist, the data mixture, or everything a merge needs.

python train.py strategy=specialist task=codegen
python train.py strategy=specialist task=codesum seed=1
python train.py strategy=mix
python train.py strategy=mix 'tasks=[codegen_fair,codesum]'     other files of conf/tasks
python train.py strategy=merge merge=ties merge.weight=0.3     train the missing specialists, then merge
python train.py model=qwen7b strategy=mix
python train.py strategy=fisher task=codegen     statistics for merge=fisher; likewise strategy=regmean
python train.py strategy=mix strategy.steps=50 output=runs/trial
python train.py strategy=mix preview=5     five rows per task as tokens, counts and lengths; nothing is trained
python train.py strategy=mix dry_run=true     steps, tokens, time, device-hours and disk; nothing is trained
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.config.command_line import Script
from src.config.schemas import register_schemas
from src.stages.job import Job
from src.utils.progress import say

register_schemas()
script = Script()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    with script.job(cfg.threads):  # torch is imported here, so that --help and mistyped keys answer at once
        from src.stages.train.dry_run import dry_run
        from src.stages.train.launch import is_launched
        from src.stages.train.run import train

        job = Job.current("train", cfg)
        if cfg.preview or cfg.dry_run:
            dry_run(job)
            return
        place = train(job)
        if not is_launched():
            say(f"trained {place}")


if __name__ == "__main__":
    script.run(main)
