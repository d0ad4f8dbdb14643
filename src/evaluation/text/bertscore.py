"""BERTScore (arXiv 1904.09675) with any encoder in a local directory.

torchmetrics 1.9.0 assigns embeddings to the wrong texts where lengths differ (it sorts by length, and undoes the order
with the permutation itself instead of its inverse), and bert-score 0.3.13 fails on empty texts with transformers 5.
The tests compare with bert-score wherever that runs. Shapes: B pairs, P tokens of predictions, R of references, D.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from src.runs.file_hashes import hash_files
from src.utils.errors import UserError
from src.utils.files import sha256_json
from src.utils.progress import progress_bar
from src.utils.validation import checked_dataclass

UNSET_LENGTH = 1 << 20  # tokenizers without a limit have 10^30
BYTE_LEVEL = ("GPT2", "Roberta")  # words begin with a space; bert-score adds the first, with transformers below 5 only
MODEL_FILES = (".json", ".txt", ".model", ".safetensors", ".bin")


@checked_dataclass("benchmark.bertscore")
class BertScore:
    """F1 of greedily matched tokens: each one counts with its largest cosine similarity on the other side.

    Attributes:
        model: Directory of an encoder with its tokenizer (BERT, RoBERTa, CodeBERT, ...); None: not computed.
        layer: Hidden layer whose vectors are compared, from 1 (0: the embeddings) to the number of layers.
        idf: Weight tokens by their inverse document frequency among the references. A text all of whose tokens are in
            every reference has equal weights instead of none.
        baseline: File of the mean scores of unrelated texts by layer, in bert-score's form (`LAYER,P,R,F`): scores
            become (score - F) / (1 - F). None: as they are.
        batch_size: Number of pairs at a time.
        device: None: a GPU if there is one.
    """

    name = "bertscore"

    model: str | None = None
    layer: Annotated[int, Field(ge=0)] | None = None
    idf: bool = False
    baseline: str | None = None
    batch_size: Annotated[int, Field(ge=1)] = 64
    device: str | None = None

    @property
    def definition(self) -> str:
        """One line, printed with every value."""
        place, layer = self._place()
        weights = "idf of the references" if self.idf else "equal weights"
        rescaled = f"rescaled with {Path(self.baseline).name}" if self.baseline else "not rescaled"
        return f"mean BERTScore F1 ({place.name}, layer {layer}, {weights}, {rescaled})"

    def identity(self) -> dict[str, Any]:
        """Return what decides a score: encoder and baseline by content, layer, weights."""
        place, layer = self._place()
        files = {path.name: path for path in sorted(place.iterdir()) if path.suffix in MODEL_FILES}
        hashes = {name: state.sha256 for name, state in hash_files(files).items()}
        return {"model": sha256_json(hashes), "layer": layer, "idf": self.idf, "baseline": self._baseline(layer)}

    def __call__(self, predictions: Sequence[str], references: Sequence[str]) -> list[float]:
        """Return the F1 of every pair; 0 (before rescaling) if one side has no token.

        Args:
            predictions: N texts.
            references: N texts.

        Raises:
            UserError: There is no such model, layer or baseline.
        """
        place, layer = self._place()
        baseline = self._baseline(layer)
        tokenizer, network = _load(str(place), self.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        got, wanted = (_encoded(texts, tokenizer, network) for texts in (predictions, references))
        weights = _idf(wanted) if self.idf else {}
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        order = sorted(range(len(got)), key=lambda place: -len(got[place]) - len(wanted[place]))
        scores = [0.0] * len(got)
        for batch in _batches(order, self.batch_size):
            sides = [
                _vectors([texts[n] for n in batch], network, layer, weights if self.idf else None, special, len(wanted))
                for texts in (got, wanted)
            ]
            for n, score in zip(batch, matched_f1(*sides[0], *sides[1]).tolist(), strict=True):
                scores[n] = score
        return scores if baseline is None else [(score - baseline) / (1 - baseline) for score in scores]

    def _place(self) -> tuple[Path, int]:
        place = Path(str(self.model))
        if not (place / "config.json").is_file():
            raise UserError(
                f"benchmark.bertscore.model={self.model}: expected a directory with config.json and weights"
            )
        if self.layer is None:
            raise UserError(
                "benchmark.bertscore.layer is missing: scores depend on it (bert-score takes 9 of bert-base-uncased, "
                "10 of roberta-base, 17 of roberta-large)"
            )
        layers = AutoConfig.from_pretrained(place, local_files_only=True, trust_remote_code=False).num_hidden_layers
        if self.layer > layers:
            raise UserError(f"benchmark.bertscore.layer={self.layer}: {place} has layers 1 to {layers}")
        return place, self.layer

    def _baseline(self, layer: int) -> float | None:
        if self.baseline is None:
            return None
        try:
            with Path(self.baseline).open(encoding="utf-8", newline="") as file:
                rows = {int(row["LAYER"]): float(row["F"]) for row in csv.DictReader(file)}
            return rows[layer]
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"benchmark.bertscore.baseline={self.baseline}: expected lines LAYER,P,R,F of layer {layer} ({error!r})"
            ) from error


def matched_f1(got_BPD: Tensor, got_weights_BP: Tensor, wanted_BRD: Tensor, wanted_weights_BR: Tensor) -> Tensor:
    """Compute F1 from token vectors.

    Every token of weight above 0 counts with its largest cosine similarity to a token of the other side, special tokens
    included, as in bert-score.

    Args:
        got_BPD: Unit vectors of the predictions; zero vectors are padding.
        got_weights_BP: Weights of their tokens, 0 for special tokens and padding.
        wanted_BRD: Of the references.
        wanted_weights_BR: Of the references.

    Returns:
        B values; 0 where one side has no weight.
    """
    cosine_BPR = got_BPD @ wanted_BRD.transpose(1, 2)
    padding_BPR = (got_BPD.any(-1)[:, :, None] & wanted_BRD.any(-1)[:, None, :]).logical_not()
    cosine_BPR = cosine_BPR.masked_fill(padding_BPR, -1.0)
    precision_B = _weighted(cosine_BPR.amax(2), got_weights_BP)
    recall_B = _weighted(cosine_BPR.amax(1), wanted_weights_BR)
    total_B = precision_B + recall_B
    some_B = (got_weights_BP.sum(1) > 0) & (wanted_weights_BR.sum(1) > 0) & (total_B != 0)
    return torch.where(some_B, 2 * precision_B * recall_B / total_B, torch.zeros_like(total_B))


def _weighted(values_BT: Tensor, weights_BT: Tensor) -> Tensor:
    return (values_BT * weights_BT).sum(1) / weights_BT.sum(1).clamp_min(1e-12)


@lru_cache(maxsize=1)  # one encoder stays loaded for all evaluations of a study
def _load(place: str, device: str) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True, trust_remote_code=False)
    network = AutoModel.from_pretrained(place, local_files_only=True, dtype=torch.float32, trust_remote_code=False)
    network = getattr(network, "encoder", network) if network.config.is_encoder_decoder else network
    return tokenizer, network.eval().to(device)


def _encoded(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, network: PreTrainedModel) -> list[list[int]]:
    limit, positions = tokenizer.model_max_length, getattr(network.config, "max_position_embeddings", UNSET_LENGTH)
    limit = min(limit, positions) if limit < UNSET_LENGTH else positions - 2  # RoBERTa's positions begin at 2
    space = " " if type(tokenizer).__name__.startswith(BYTE_LEVEL) else ""
    stripped = [space + text.strip() if text.strip() else "" for text in texts]
    found: list[list[int]] = tokenizer(stripped, truncation=True, max_length=limit, verbose=False)["input_ids"]
    return found


def _idf(references: Sequence[Sequence[int]]) -> dict[int, float]:
    counts = Counter(token for tokens in references for token in set(tokens))
    return {token: math.log((len(references) + 1) / (count + 1)) for token, count in counts.items()}


def _vectors(
    texts: Sequence[Sequence[int]],
    network: PreTrainedModel,
    layer: int,
    idf: Mapping[int, float] | None,
    special: set[int],
    documents: int,
) -> tuple[Tensor, Tensor]:
    """Unit vectors and weights of the tokens of texts, padded with zeros: B x T x D and B x T."""
    width = max(1, *map(len, texts))
    ids_BT, mask_BT = torch.zeros(len(texts), width, dtype=torch.long), torch.zeros(len(texts), width)
    weights_BT = torch.zeros(len(texts), width)
    for row, tokens in enumerate(texts):
        ids_BT[row, : len(tokens)], mask_BT[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long), 1
        equal = [float(token not in special) for token in tokens]
        unknown = math.log(documents + 1)
        own = [float(token not in special) * (idf or {}).get(token, unknown) for token in tokens]
        weights_BT[row, : len(tokens)] = torch.tensor(own if idf is not None and any(own) else equal)
    ids_BT, mask_BT = ids_BT.to(network.device), mask_BT.to(network.device)
    with torch.inference_mode():
        out = network(input_ids=ids_BT, attention_mask=mask_BT.long(), output_hidden_states=True)
    vectors_BTD = torch.nn.functional.normalize(out.hidden_states[layer].float(), dim=-1) * mask_BT[..., None]
    return vectors_BTD, weights_BT.to(network.device)


def _batches(order: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    with progress_bar() as bar:
        task = bar.add_task("BERTScore", total=len(order))
        for start in range(0, len(order), size):
            yield order[start : start + size]
            bar.advance(task, len(order[start : start + size]))
