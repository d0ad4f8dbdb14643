"""Compare evaluations pair by pair: the same items, bootstrap and McNemar tests, Holm's correction.

python compare.py runs/evaluate/pocket-mix-s0-test runs/evaluate/pocket-ties-w0.3-s0-test
python compare.py RUN OTHER ANOTHER              compare each further run with the first
python compare.py A/items.csv B/items.csv        use item scores in files
python compare.py RUN                            list every problem with its answer and verdict
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.config.command_line import Script
from src.config.schemas import register_schemas
from src.stages.job import Job

register_schemas()
script = Script(positional=("reference", "runs"))


@hydra.main(version_base="1.3", config_path="conf", config_name="compare")
def main(cfg: DictConfig) -> None:
    with script.job(cfg.threads):  # pandas is imported here, so that --help and mistyped keys answer at once
        from src.stages.compare.run import compare, show

        show(compare(Job.current("compare", cfg)), cfg.show)


if __name__ == "__main__":
    script.run(main)
