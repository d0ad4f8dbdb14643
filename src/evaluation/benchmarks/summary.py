"""Code summarization: CodeXGLUE rows, or plain predictions and references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from src.data.docstrings import without_docstring
from src.data.prompts import render_user_turn
from src.evaluation.benchmarks.base import SPLITS, Limit, Rows, check_covered, check_split, read_rows
from src.evaluation.benchmarks.judge import SummaryJudge
from src.evaluation.generators.samples import Decoding, Prompt, Sample
from src.evaluation.statistics.bootstrap import Interval
from src.evaluation.statistics.scores import Score
from src.evaluation.text.bertscore import BertScore
from src.evaluation.text.corpus import CORPUS_SCORES
from src.evaluation.text.meteor import wordnet_hash
from src.evaluation.text.metrics import STUDY_METRICS, score_corpus, score_texts, text_metrics
from src.evaluation.text.normalize import normalize
from src.utils.errors import UserError, unknown_choice
from src.utils.files import sha256_json

AUTO, REPOSITORY = "auto", "repo"


class SummaryBenchmark:
    """Describe a function in words; the reference is its docstring.

    Args:
        name: Name in score tables.
        rows: Rows in CodeXGLUE's format: a function of the split, or paths with `{split}`.
        decoding: Decoding settings.
        user_prompt: The user turn; `{code}` is the function without its docstring.
        task: Task that it measures.
        reference: Field of the reference: `docstring` (the paper) or `docstring_tokens` (CodeXGLUE; joined by spaces).
        metrics: Names from `src.evaluation.text.metrics`.
        corpus: Names of corpus-level scores, from `src.evaluation.text.corpus`.
        wordnet: For METEOR: a directory of nltk data, `"auto"` or None (see `text_metrics`).
        bertscore: Also score with an encoder; None, or one without a model: do not.
        judge: Also have a language model grade the summaries, after generation; None, or one without a model: do not.
        cluster: Field of the rows that names their cluster: intervals draw clusters, not rows. `auto`: `repo`, where
            all rows have one and not all the same; None: rows.
        chat: Use the chat template; False: raw text.
        limit: Maximum number of rows, evenly spaced over all; also by split; None: all.
        splits: Splits that it has.
    """

    of_training_data = False

    def __init__(
        self,
        name: str,
        rows: Rows | None,
        decoding: Decoding,
        user_prompt: str = "{code}",
        task: str = "codesum",
        reference: str = "docstring",
        metrics: Sequence[str] = STUDY_METRICS,
        corpus: Sequence[str] = (),
        wordnet: str | None = AUTO,
        bertscore: BertScore | None = None,
        judge: SummaryJudge | None = None,
        cluster: str | None = AUTO,
        chat: bool = True,
        limit: Limit = None,
        splits: Sequence[str] = SPLITS,
    ) -> None:
        self.name, self.task, self.decoding, self.chat = name, task, decoding, chat
        self.user_prompt, self.reference, self.limit = user_prompt, reference, limit
        self.metrics, self.corpus = text_metrics(metrics, wordnet), tuple(corpus)
        for metric in self.corpus:
            if metric not in CORPUS_SCORES:
                raise unknown_choice("corpus score", metric, list(CORPUS_SCORES))
        self.splits, self.cluster = tuple(splits), cluster
        self.judge = judge if judge is not None and judge.model is not None else None
        self.bertscore = bertscore if bertscore is not None and bertscore.model is not None else None
        self._source, self._rows, self._wordnet = rows, dict[str, list[dict[str, Any]]](), wordnet
        self._hashes = dict[str, str]()

    @property
    def definitions(self) -> dict[str, str]:
        """Map each metric to its definition, to print with its values."""
        scales = {1: "0 to 1", 100: "0 to 1; papers print 100 times as much"}
        means = {metric.name: f"{metric.definition} ({scales[metric.published_scale]})" for metric in self.metrics}
        if self.bertscore is not None:
            means[self.bertscore.name] = f"{self.bertscore.definition}, after normalization"
        if self.judge is not None:
            means[self.judge.name] = self.judge.definition
        return means | {name: f"{CORPUS_SCORES[name][0]} ({scales[100]})" for name in self.corpus}

    def rows(self, split: str) -> list[dict[str, Any]]:
        """Return the rows of a split, read once.

        Raises:
            UserError: There is no such split, a file is missing, or there are no rows.
        """
        check_split(self.name, split, self.splits)
        if split not in self._rows:
            if self._source is None:
                raise UserError(f"benchmark {self.name} has no rows; set benchmark.rows=FILE, or give predictions=FILE")
            self._rows[split] = read_rows(self._source, split, "benchmark.rows", self.limit)
        return self._rows[split]

    def items(self, split: str) -> dict[str, dict[str, Any]]:
        """Map each item to its row."""
        return {self._id(number): row for number, row in enumerate(self.rows(split))}

    def prompts(self, split: str) -> list[Prompt]:
        """Return one prompt per row; ids are `<name>/<row number>`."""
        turns = [
            render_user_turn(self.user_prompt, code=without_docstring(row["code"]).rstrip("\n"))
            for row in self.rows(split)
        ]
        return [Prompt(self._id(number), turn, chat=self.chat) for number, turn in enumerate(turns)]

    def references(self, split: str) -> dict[str, str]:
        """Map each prompt id to its reference."""
        values = [row[self.reference] for row in self.rows(split)]
        texts = [value if isinstance(value, str) else " ".join(value) for value in values]
        return {self._id(number): text for number, text in enumerate(texts)}

    def clusters(self, split: str) -> dict[str, str]:
        """Map each item to its cluster; empty without clusters.

        Raises:
            UserError: A row lacks the field.
        """
        rows, field = self.rows(split), REPOSITORY if self.cluster == AUTO else self.cluster
        lacking = [number for number, row in enumerate(rows) if not row.get(str(field))]
        if field is None or (lacking and self.cluster == AUTO):
            return {}
        if lacking:
            raise UserError(
                f"benchmark.cluster={field}: {len(lacking)} of {len(rows)} rows have no such field; the first is row "
                f"{lacking[0]}, with {', '.join(sorted(rows[lacking[0]]))}; null: no clusters"
            )
        found = {self._id(number): str(row[field]) for number, row in enumerate(rows)}
        if len(set(found.values())) > 1:
            return found
        if self.cluster == AUTO:
            return {}
        raise UserError(f"benchmark.cluster={field}: all {len(rows)} rows are one cluster; expected 2 or more")

    def content_hash(self, split: str) -> str:
        """Hash prompts and references."""
        if split not in self._hashes:  # a study asks for it with every checkpoint
            prompts = [prompt.text for prompt in self.prompts(split)]
            self._hashes[split] = sha256_json([prompts, self.references(split)])
        return self._hashes[split]

    def rules(self) -> dict[str, Any]:
        """Return what decides a score besides answers, references and settings."""
        libraries = {name: version(name) for name in ("sacrebleu", "rouge-score", "nltk")}
        metrics = [metric.name for metric in self.metrics]  # `meteor_nosyn` where WordNet is not installed
        rules: dict[str, Any] = {"metrics": metrics, **libraries}
        rules["wordnet"] = _wordnet(self._wordnet) if "meteor" in metrics else None
        if self.bertscore is not None:
            rules |= {"bertscore": self.bertscore.identity(), "transformers": version("transformers")}
        if self.judge is not None:
            rules["judge"] = self.judge.identity()
        return rules

    def score(self, samples: Sequence[Sample], split: str) -> list[Score]:
        """Score answers; the first sample of each row counts.

        Raises:
            UserError: A row has no answer, or an answer belongs to no row.
        """
        references = self.references(split)
        check_covered(list(references), samples, self.name)
        texts = {sample.task_id: sample.completion for sample in samples if sample.index == 0}
        return self._score(texts, references, self.clusters(split))

    def score_texts(self, predictions: Mapping[str, str], references: Mapping[str, str]) -> list[Score]:
        """Score texts against references with the same ids (see `read_pair`); items are the ids.

        Raises:
            UserError: An id is in only one of them.
        """
        check_covered(list(references), [Sample(item, "", text) for item, text in predictions.items()], "predictions")
        return self._score(predictions, references, {})

    def corpus_scores(self, samples: Sequence[Sample], split: str) -> dict[str, Interval]:
        """Compute corpus-level scores of the first samples."""
        texts = {sample.task_id: sample.completion for sample in samples if sample.index == 0}
        return self.corpus_scores_of_texts(texts, self.references(split), self.clusters(split))

    def corpus_scores_of_texts(
        self, predictions: Mapping[str, str], references: Mapping[str, str], clusters: Mapping[str, str] | None = None
    ) -> dict[str, Interval]:
        """Compute corpus-level scores of texts with the ids of the references, which may come in clusters."""
        texts = [predictions[item] for item in references]
        known = [clusters[item] for item in references] if clusters else None
        return score_corpus(texts, list(references.values()), self.corpus, known)

    def _score(
        self, predictions: Mapping[str, str], references: Mapping[str, str], clusters: Mapping[str, str]
    ) -> list[Score]:
        items = list(references)
        got, wanted = ([texts[item] for item in items] for texts in (predictions, references))
        scored = score_texts(got, wanted, self.metrics)
        if self.bertscore is not None:
            clean = ([normalize(text.strip()) for text in texts] for texts in (got, wanted))
            scored[self.bertscore.name] = self.bertscore(*clean)
        return [
            Score(self.name, item, metric, value, clusters.get(item, ""))
            for metric, values in scored.items()
            for item, value in zip(items, values, strict=True)
        ]

    def _id(self, number: int) -> str:
        return f"{self.name}/{number}"


def _wordnet(place: str | None) -> str | None:
    return wordnet_hash(None if place == "auto" else place)
