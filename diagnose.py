"""Measure how far every variant moved from the base by layer, and how similar the specialists' updates are.

python diagnose.py
python diagnose.py base=DIR specialists.codegen=DIR specialists.codesum=DIR
python diagnose.py variants.mix=runs/train/pocket-mix-s0
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


@hydra.main(version_base="1.3", config_path="conf", config_name="diagnose")
def main(cfg: DictConfig) -> None:
    with script.job(cfg.threads):  # torch is imported here, so that --help and mistyped keys answer at once
        from src.stages.diagnose import diagnose

        say(f"diagnosis in {diagnose(Job.current('diagnose', cfg))}")


if __name__ == "__main__":
    script.run(main)
