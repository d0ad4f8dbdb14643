"""Merge specialists of one base model: one point, or a sweep with -m.

python merge.py merge=ties merge.weight=0.3
python merge.py -m merge=ties,dare,della merge.weight=0.1,0.2,...,0.9
python merge.py merge=linear base=DIR specialists.codegen=DIR specialists.codesum=DIR output=DIR
python merge.py recipe=FILE.yml output=DIR        a mergekit recipe
python merge.py -m merge=ties,dare merge.weight=0.1,0.2,...,0.9 save_weights=false    merged when evaluated
python merge.py merge=ties adapter=16 base=DIR specialists.codegen=ADAPTER specialists.codesum=ADAPTER
python merge.py merge=ties base=DIR specialists.codegen=DIR specialists.codesum=DIR dry_run=true    check, merge nothing
python merge.py merge=ties merge.weight=0.3 push_to_hub=org/name    upload the merge, with a model card
python merge.py compare=[DIR,DIR,DIR]    which checkpoints fit together, and the line that merges them
python merge.py search=tpe 'search.space={merge: [ties, dare], merge.weight: [0, 1]}'    the best on validation data
python merge.py verify=runs/merge/pocket-ties-w0.3-s0    check files and a sample of tensors (verify_all=true: all)
merge.weight is the coefficient of the first task; the others share 1 - weight.
merge.weights={codegen: .3, codesum: .5, bugfix: .2} sets each by name.
"""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.config.command_line import Script
from src.config.schemas import register_schemas
from src.stages.job import Job
from src.utils.progress import say

register_schemas()
script = Script()


@hydra.main(version_base="1.3", config_path="conf", config_name="merge")
def main(cfg: DictConfig) -> None:
    with script.job(cfg.threads):  # torch is imported here, so that --help and mistyped keys answer at once
        from src.stages.merge.compare_parents import compare_parents
        from src.stages.merge.dry_run import dry_run
        from src.stages.merge.run import merge
        from src.stages.merge.verify import verify

        if cfg.compare:
            compare_parents(list(cfg.compare), cfg.allow_pickle)
        elif cfg.dry_run:
            dry_run([Job.current("merge", cfg)])
        elif cfg.verify is None and cfg.search is not None:
            from src.stages.search.run import search  # optuna and the network take seconds to import

            search(Job.current("merge", cfg))
        elif cfg.verify is None:
            say(f"merged {merge(Job.current('merge', cfg))}")
        else:
            found = verify(Path(cfg.verify), cfg.verify_all)
            how = "bit for bit" if found.bitwise else "up to rounding"
            say(
                f"{cfg.verify} matches its record: all files have the recorded hashes, and "
                f"{len(found.sampled)} of {found.total} tensors were recomputed and are equal {how}"
            )


if __name__ == "__main__":
    script.run(main)
