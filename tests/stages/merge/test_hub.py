"""`push_to_hub=`: against a server on this machine that speaks the Hub's protocol; not run against the Hub itself."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard

from src.stages.merge import hub, run
from src.stages.merge.dry_run import dry_run
from src.stages.merge.hub import public_command, public_text
from src.stages.merge.run import merge, merge_all
from src.utils.errors import UserError
from tests.stages.merge.test_parents import job, left, write_parents

PUSH = "push_to_hub=org/ours"


class FakeHub:
    """Endpoints that `whoami`, `create_repo` and `upload_folder` call, for files that are sent inside the commit."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.broken = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content = fake.reply(self.path, body)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if path.startswith("/api/whoami"):
            return 200, {"name": "someone", "type": "user", "orgs": [{"name": "org"}]}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.url}/org/ours", "id": "org/ours"}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return 200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        if "/commit/" in path:
            if self.broken:
                return 403, {"error": "no write access"}
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return 200, {"commitUrl": f"{self.url}/org/ours/commit/1", "commitOid": "1" * 40, "success": True}
        return 200, {"id": "org/ours", "sha": "0" * 40, "siblings": []}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    found = FakeHub()
    threading.Thread(target=found.server.serve_forever, daemon=True).start()
    monkeypatch.setattr(hub, "HfApi", partial(HfApi, endpoint=found.url, token="hf_test"))
    monkeypatch.setattr(hub, "get_token", lambda: "hf_test")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_what_belongs_to_the_model_is_uploaded(tmp_path: Path, fake: FakeHub) -> None:
    root = write_parents(tmp_path)
    for name in ("codegen", "codesum"):
        config = json.loads((root / name / "config.json").read_text()) | {"_name_or_path": "/home/someone/secret/qwen"}
        (root / name / "config.json").write_text(json.dumps(config))
    made = merge(job(root, PUSH))
    outputs = set(json.loads((made / "run.json").read_text())["outputs"])
    assert set(fake.files) == outputs
    assert "run.json" not in fake.files
    assert fake.files["model.safetensors"] == (made / "model.safetensors").read_bytes()
    assert json.loads(fake.files["config.json"])["_name_or_path"] == "qwen"
    assert not [name for name, content in fake.files.items() if str(tmp_path).encode() in content]
    card = ModelCard(fake.files["README.md"].decode())
    assert "base=base specialists.codegen=codegen specialists.codesum=codesum" in card.text
    assert 'from_pretrained("org/ours"' in card.text
    assert fake.created == [{"name": "ours", "organization": "org", "visibility": "private"}]
    assert left(root) == [made.name]


def test_a_finished_merge_is_uploaded_by_the_same_command(tmp_path: Path, fake: FakeHub) -> None:
    root = write_parents(tmp_path)
    fake.broken = True
    with pytest.raises(UserError, match=r"push_to_hub=org/ours: .*the same command uploads it again"):
        merge(job(root, PUSH))
    fake.broken = False
    [name] = left(root)
    (root / "runs" / "merge" / name / "README.md").write_text("# My own words")
    assert merge(job(root, PUSH, "push_private=false")).name == name
    assert fake.files["README.md"] == b"# My own words"
    assert fake.created[-1]["visibility"] == "public"


@pytest.mark.parametrize(
    ("overrides", "token", "offline", "words"),
    [
        (["push_to_hub=ours"], "hf", False, "push_to_hub=ours: expected org/name"),
        ([PUSH, "save_weights=false"], "hf", False, "save_weights=false writes none"),
        ([PUSH], "hf", True, "HF_HUB_OFFLINE is set"),
        ([PUSH], None, False, "hf auth login"),
        (["push_to_hub=other/ours"], "hf", False, "expected one of someone, org"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_before_the_merge(
    tmp_path: Path,
    fake: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    token: str | None,
    offline: bool,
    words: str,
) -> None:
    root = write_parents(tmp_path)
    monkeypatch.setattr(hub, "get_token", lambda: token)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(run, "merge_grid", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match=words):
        merge(job(root, *overrides))
    assert left(root) == []
    with pytest.raises(UserError, match="1 problem "):
        dry_run([job(root, *overrides)])


def test_a_sweep_and_a_hub_that_does_not_answer(tmp_path: Path, fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_parents(tmp_path)
    with pytest.raises(UserError, match="a repository holds one model, this sweep has 2"):
        merge_all([job(root, PUSH, f"merge.weight={weight}") for weight in (0.1, 0.2)])
    monkeypatch.setattr(hub, "HfApi", partial(HfApi, endpoint="http://127.0.0.1:9", token="hf_test"))
    with pytest.raises(UserError, match=r"push_to_hub=org/ours: .*check the connection and the token"):
        merge(job(root, PUSH))


def test_paths_become_names(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("c" * 40)
    parents = {"base": snapshot, "codegen": tmp_path / "runs" / "coder"}
    text = f"{parents['codegen']} of {snapshot} in {Path.home()}/x and {Path.cwd()}/y"
    assert public_text(text, parents) == f"coder of org/name@{'c' * 40} in ~/x and ./y"
    argv = ["python", "merge.py", f"base={snapshot}", "output=/data/secret", "recipe=/data/secret/r.yml", "seed=1"]
    assert public_command(argv, parents) == [
        "python",
        "merge.py",
        f"base=org/name@{'c' * 40}",
        "recipe=r.yml",
        "seed=1",
    ]
