"""`evaluate.py generator=openai`: scores of a model that a server has loaded."""

import json

import pandas as pd
import pytest

from src.pocket.benchmarks import problems
from src.stages.evaluate.run import evaluate
from src.stages.job import compose_job
from src.utils.errors import UserError
from tests.evaluation.generators.server import serving


def test_a_served_model_is_scored_and_identified(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "top-secret")
    [problem] = problems("test", 1)
    right = f"```python\n{problem['prompt']}{problem['canonical_solution']}\n```"
    common = ["benchmark=pocket_codegen", "benchmark.problems.count=1", "+benchmark.limit=1", "sandbox=unsafe"]
    with serving() as server:
        server.choice |= {"message": {"role": "assistant", "content": right}}
        served = ["generator=openai", f"generator.base_url={server.url}", "generator.model=tiny"]
        command = [*served, *common, "sandbox.min_time_limit=0.1", f"output_root={tmp_path}"]
        directory = evaluate(compose_job("evaluate", command))
        scores = pd.read_csv(directory / "scores.csv").set_index("metric")["value"]
        assert scores["pass@1"] == 1
        asked = len(server.asked)
        assert evaluate(compose_job("evaluate", [*command, "generator.concurrency=2"])) == directory
        assert len(server.asked) == asked == 1
        record = json.loads((directory / "run.json").read_text())
        assert record["config"]["generator"]["server"] == "vllm 0.12.0"
        assert record["config"]["generator"]["model"] == "tiny"
        assert record["results"]["finish"]["pocket_codegen"]["end"] == 1
        written = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(b"top-secret" in path.read_bytes() for path in written)
        server.version = "0.13.0"  # another server is another evaluation, not the old score
        with pytest.raises(UserError, match=r"generator\.server"):
            evaluate(compose_job("evaluate", command))
        with pytest.raises(UserError, match="got checkpoint and generator=openai"):
            evaluate(compose_job("evaluate", [*command, f"checkpoint={tmp_path}"]))
