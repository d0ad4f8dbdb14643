"""`merge.py ... push_to_hub=org/name`: upload a written merge, without what is about this machine."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError
from omegaconf import DictConfig

from src.checkpoints.fingerprint import fingerprint
from src.reporting.model_card import CARD
from src.runs.finished import FinishedRun, open_finished
from src.runs.paths import checkpoint_label, hub_origin
from src.stages.checkpoints import HUB_NAME
from src.stages.job import Job
from src.stages.merge.card import card_text
from src.utils.errors import UserError

REWRITTEN = ("config.json", "*_config.json", "mergekit_config.yml", CARD)  # texts that may hold paths
PATH_KEYS = ("_name_or_path", "name_or_path", "base_model_name_or_path")
NOT_OF_THE_MODEL = ("output", "output_root", "push_to_hub", "push_private")  # keys of a command
LEFT_AT_HOME = (".csv", ".jsonl", ".log")


def check_push(jobs: Sequence[Job]) -> None:
    """Check that the Hub would take what a command is going to make, before anything is merged.

    Raises:
        UserError: The name, the command, the connection or the token is not right for it.
    """
    cfg = next((job.cfg for job in jobs if job.cfg.push_to_hub is not None), None)
    if cfg is None:
        return
    key = f"push_to_hub={cfg.push_to_hub}"
    if not HUB_NAME.fullmatch(str(cfg.push_to_hub)):
        raise UserError(f"{key}: expected org/name")
    if len(jobs) > 1:
        raise UserError(f"{key}: a repository holds one model, this sweep has {len(jobs)}; push the point you choose")
    if not cfg.save_weights:
        raise UserError(f"{key} uploads weights, save_weights=false writes none: give one of them")
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{key} needs the Hub, and HF_HUB_OFFLINE is set; unset it, or leave out push_to_hub=")
    if get_token() is None:
        raise UserError(f"{key} needs a token with write access; run hf auth login, or set HF_TOKEN")
    _check_owner(key, str(cfg.push_to_hub).partition("/")[0])


def _check_owner(key: str, owner: str) -> None:
    try:
        who = HfApi().whoami()
    except Exception as error:  # of the connection, whose classes differ between versions of the client
        raise UserError(f"{key}: {_why(error)}; check the connection and the token (hf auth whoami)") from error
    owners = [who["name"], *(org["name"] for org in who.get("orgs", []))]
    if owner not in owners:
        raise UserError(f"{key}: the token is of {who['name']}; expected one of {', '.join(owners)} before the slash")


def push_merge(directory: Path, cfg: DictConfig) -> str:
    """Upload the files of a finished merge to `push_to_hub`.

    Uploaded is what belongs to the model. The record stays here, because it holds paths of this machine, and paths in
    the other files are replaced by names. The card is written anew, with the scores that are known by now, unless the
    user has edited it.

    Args:
        directory: Run directory of the merge.
        cfg: `push_to_hub` and `push_private`.

    Returns:
        Address of the commit.

    Raises:
        UserError: A file is not the one that was written, or the upload failed; the merge is kept.
    """
    run = open_finished(directory)
    assert run is not None
    name, api = str(cfg.push_to_hub), HfApi()
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.upload") as place:
        stage_files(run, Path(place), name)
        try:
            api.create_repo(name, private=bool(cfg.push_private), exist_ok=True)
            commit = api.upload_folder(repo_id=name, folder_path=place, commit_message=f"Merge {directory.name}")
        except Exception as error:
            raise UserError(
                f"push_to_hub={name}: {_why(error)}; the merge is in {directory}, the same command uploads it again"
            ) from error
    return str(commit.commit_url)


def stage_files(run: FinishedRun, place: Path, name: str) -> None:
    """Put the files that are uploaded into `place`: weights as links, texts without paths of this machine."""
    names = [file for file in run.outputs if not file.endswith(LEFT_AT_HOME)]
    run.hashes(file for file in names if file != CARD)
    parents = {role: Path(path) for role, path in run.results["parents"].items()}
    for file in names:
        source, target = run.directory / file, place / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if any(source.match(pattern) for pattern in REWRITTEN):
            target.write_text(public_text(source.read_text(encoding="utf-8"), parents), encoding="utf-8")
        else:
            _link(source, target)
    edited = not run.outputs[CARD].describes(run.directory / CARD)
    if not edited:
        card = card_text(
            name.rpartition("/")[2],
            "peft" if "adapter" in run.results else "transformers",
            run.inputs,
            run.results,
            public_command(run.argv, parents),
            run.directory.parent.parent / "evaluate",
            name,
            fingerprint(run.directory),
        )
        (place / CARD).write_text(card, encoding="utf-8")


def public_command(argv: Sequence[str], parents: Mapping[str, Path]) -> list[str]:
    """A command with names instead of directories, and without where its result went."""
    words = []
    for word in argv:
        key, equals, value = public_text(word, parents).partition("=")
        if key not in NOT_OF_THE_MODEL:
            words.append(key + equals + (Path(value).name if os.path.isabs(value.strip("'\"")) else value))
    return words


def public_text(text: str, parents: Mapping[str, Path]) -> str:
    """A text with the parents' names instead of their directories, and without other paths of this machine.

    Args:
        text: Of a file; fields of a JSON object that hold the path it was loaded from are shortened to a name.
        parents: Directories of base and specialists.
    """
    for path in sorted(parents.values(), key=lambda path: -len(str(path))):
        origin = hub_origin(path)
        shown = f"{origin[0]}@{origin[1]}" if origin else checkpoint_label(path)
        for written in dict.fromkeys((str(path), os.path.relpath(path))):
            if "/" in written:
                text = text.replace(written, shown)
    for place, shown in ((Path.cwd(), "."), (Path.home(), "~")):
        if len(place.parts) > 1:  # not the root of the file system
            text = text.replace(str(place), shown)
    try:
        content: Any = json.loads(text)
    except ValueError:
        return text
    if not isinstance(content, dict):
        return text
    private = {key: content[key] for key in PATH_KEYS if os.path.isabs(str(content.get(key, "")))}
    if not private:
        return text
    content |= {key: Path(str(value)).name for key, value in private.items()}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _why(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    kind = "" if isinstance(error, HfHubHTTPError) else f"{type(error).__name__}: "
    return kind + (lines[-1] if lines else "no answer").rstrip(".")
