"""Runs of Weights & Biases: online with a key, offline without one or without its server."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import pandas as pd

from src.tracking.artifacts import Artifact
from src.tracking.contents import Contents
from src.tracking.trackers import Header
from src.utils.errors import UserError, reason_of
from src.utils.files import sha256_json, write_text
from src.utils.progress import say
from src.utils.ranks import is_main_process

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"
Mode = Literal["online", "offline", "shared", "disabled"]
SECONDS = 30  # to wait for the server at the start of a run
LAST_SECONDS = 120  # and at its end; what is then missing stays on disk for `wandb sync`


class WandbTracker:
    """One W&B run per job: values of steps, final numbers, tables, figures, pages and lineage.

    Args:
        project: W&B project.
        entity: W&B team or user; None: the key's own.
        group: Groups the runs of a sweep; None: no group.
        tags: Added to the run's own.
        mode: `online`, `offline`, `shared` or `disabled`; None: `WANDB_MODE`, else offline without a key.
        samples: Answers per benchmark in the tables of samples.
        save_dir: Where offline runs are kept until `wandb sync`.

    Raises:
        UserError: There is no such mode.
    """

    _unreachable = False  # in this process; its later runs do not wait for the server again

    def __init__(
        self,
        project: str = "mixmerge",
        entity: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] | list[str] = (),
        mode: str | None = None,
        samples: int = 200,
        save_dir: str = ".",
    ) -> None:
        wanted = wandb_mode() if mode is None else mode
        if wanted not in get_args(Mode):
            raise UserError(f"logger.wandb.mode: expected one of {', '.join(get_args(Mode))}, got {wanted!r}")
        self.mode: Mode = cast(Mode, wanted)
        self.project, self.entity, self.group, self.tags = project, entity, group, tuple(tags)
        self.samples, self.save_dir = samples, Path(save_dir)
        self._run: wandb.Run | None = None
        self._known_to = -1  # the server has the rows up to this step
        self._is_resumed = self._is_live = False
        self._exit = sys.exit

    def open(self, header: Header, live: bool = False) -> None:
        """Open the W&B run; one that was interrupted goes on, or begins again if it was offline.

        Raises:
            UserError: W&B refuses, e.g. the key.
        """
        if not is_main_process():
            return
        self._exit, self._is_live = sys.exit, live
        self.save_dir.mkdir(parents=True, exist_ok=True)
        if folder := header.place.get(
            "folder"
        ):  # the offline part of an interrupted run: all its rows are logged again
            shutil.rmtree(folder, ignore_errors=True)
        offline = self.mode == "online" and WandbTracker._unreachable
        try:
            self._run = self._init(header, live, "offline" if offline else self.mode)
        except Exception as error:
            if not _is_down(error):
                raise UserError(
                    f"logger=wandb: {reason_of(error)}; or set WANDB_MODE=offline, or logger=csv"
                ) from error
            WandbTracker._unreachable = True
            say(f"warning: W&B cannot be reached ({reason_of(error)}); runs are kept offline for `wandb sync`")
            self._run = self._init(Header(header.name, header.job_type, header.tags, header.config), live, "offline")
        self._is_resumed = bool(self._run.resumed)
        if live:
            self._run.define_metric(STEP)
            self._run.define_metric("*", step_metric=STEP, step_sync=True)
        if self._is_resumed:
            self._known_to = int(self._run.summary.get(STEP, -1))

    def _init(self, header: Header, live: bool, mode: Mode) -> wandb.Run:
        import wandb  # seconds of import that only its users pay

        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")  # `silent` does not silence its advertisement
        settings: dict[str, Any] = {"silent": True, "init_timeout": SECONDS, "finish_timeout": LAST_SECONDS}
        if not live:  # nothing to watch: the job has ended
            settings |= {"console": "off", "x_disable_stats": True}
        return wandb.init(
            project=self.project, entity=self.entity, group=self.group, job_type=header.job_type, name=header.name,
            tags=[*dict.fromkeys((*header.tags, *self.tags))], config=dict(header.config), id=header.place.get("id"),
            dir=str(self.save_dir), mode=mode, reinit="create_new", settings=wandb.Settings(**settings),
            resume="allow" if mode == "online" and header.place else None,  # only the server knows what came before
        )  # fmt: skip

    def place(self) -> dict[str, Any]:
        """Id, project, and for an offline run its folder."""
        if self._run is None:
            return {}
        found = {"id": self._run.id, "project": self.project, "entity": self._run.entity or self.entity}
        return found | ({"folder": str(Path(self._run.dir).parent.resolve())} if self._run.offline else {})

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values of a step, unless the run already has them from before it was interrupted."""
        if self._run is not None and step > self._known_to:
            self._run.log({**values, STEP: step})

    def show(self, contents: Contents) -> None:
        """Log tables, figures, pages and numbers, and record the lineage."""
        run = self._run
        if run is None or (self._is_resumed and contents.makes is None):  # what is shown first has been shown
            return
        for row in () if self._is_live else contents.history:
            self.log({key: value for key, value in row.items() if key != "step"}, row["step"])
        for name, rows in contents.cut.items():
            say(f"warning: logger=wandb shows the first {len(contents.tables[name])} of {rows} rows of {name}")
        if media := self._media(contents):
            run.log(media)
        run.summary.update(dict(contents.summary))
        for used in contents.uses:
            # `use_artifact` refuses offline runs; this is what it does with an artifact that has no version yet
            run._log_artifact(self._artifact(used), is_user_created=True, use_after_commit=True)
        if contents.makes is not None:
            run.log_artifact(self._artifact(contents.makes))

    def _media(self, contents: Contents) -> dict[str, Any]:
        import wandb

        found: dict[str, Any] = {name: _table(table) for name, table in contents.tables.items()}
        found |= {name: wandb.Image(str(path)) for name, path in contents.images.items()}
        return found | {name: wandb.Html(str(path), inject=False) for name, path in contents.pages.items()}

    def _artifact(self, node: Artifact) -> Any:
        import wandb

        artifact = wandb.Artifact(node.name, node.kind, metadata=dict(node.about))
        # beside the runs, not in W&B's folder in the home directory: a copied folder can still be uploaded
        listing = self.save_dir / "artifacts" / f"{sha256_json(node.listing)[:16]}.json"
        write_text(listing, node.listing)
        artifact.add_file(str(listing), "hashes.json", policy="immutable", skip_cache=True)
        for name, path in node.files.items():
            artifact.add_file(str(path), name, policy="immutable", skip_cache=True)
        for name, address in node.references.items():
            artifact.add_reference(address, name, checksum=False)  # `hashes.json` has its hash
        return artifact

    def close(self, succeeded: bool) -> None:
        """End the W&B run; the next job opens its own."""
        if self._run is not None:
            self._run.finish(exit_code=0 if succeeded else 1)
            self._run = None
            sys.exit = self._exit  # W&B wraps it for every run and never unwraps it: a sweep would end in a recursion


def wandb_mode() -> str:
    """`WANDB_MODE` if set; else online with a key in the environment or in ~/.netrc, and offline without one."""
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    netrc = Path.home() / ".netrc"
    has_key = "WANDB_API_KEY" in os.environ or (netrc.is_file() and "wandb" in netrc.read_text(encoding="utf-8"))
    return "online" if has_key else "offline"


def _is_down(error: Exception) -> bool:
    """Return true if the server does not answer, as opposed to refusing."""
    from wandb.errors import AuthenticationError, CommError

    return isinstance(error, CommError) and not isinstance(error, AuthenticationError)


def _table(table: pd.DataFrame) -> Any:
    import wandb

    plain = table.astype(object).where(table.notna(), None)
    for column in plain.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]]:
        plain[column] = [None if value is None else str(value) for value in plain[column]]
    return wandb.Table(columns=[str(name) for name in plain.columns], data=plain.to_numpy())
