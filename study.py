"""Run a whole study: specialists, mixture, merges, evaluation, diagnosis, verdict, report.

python study.py                     the pocket study: minutes on a laptop
python study.py study=pocket seed=1
python study.py study=fair study.model=qwen1.5b
python study.py 'study.tasks=[codesum,codegen]'    other tasks, or another order
python study.py study=fair dry_run=true         print the command of every run and run nothing
python study.py executor=local executor.workers=2    jobs that are ready run side by side
python study.py 'study.seeds=[0,1,2]'            specialists and mixtures with three training seeds
python study.py experiment=table5                 one table or figure of the reference study
"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from src.config.command_line import Script
from src.config.schemas import register_schemas
from src.stages.job import Job

register_schemas()
script = Script()


@hydra.main(version_base="1.3", config_path="conf", config_name="study")
def main(cfg: DictConfig) -> None:
    with script.job(cfg.threads):  # torch is imported here, so that --help and mistyped keys answer at once
        if not (cfg.dry_run or cfg.report_only):
            from src.stages.study.executor import begin_imports

            begin_imports(cfg.executor._target_)
        from src.stages.study.run import study

        study(Job.current("study", cfg))


if __name__ == "__main__":
    script.run(main)
