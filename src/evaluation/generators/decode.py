"""The decoding loop: answers for one padded batch of prompts. Shapes: B rows, T tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from src.evaluation.generators.kv_cache import growing_cache, keep_rows
from src.evaluation.generators.samples import Decoding
from src.evaluation.generators.sampling import draw, penalize
from src.evaluation.generators.stopping import StopStrings

# Finished rows are removed once they make up this fraction of the batch: each removal copies the cache of all other
# rows, so removing them one by one would cost more than it saves.
DROP_SHARE = 0.125
ADDITIVE_MASKS = ("sdpa", "eager")  # attention backends that take a prepared bias instead of the padding mask


@dataclass
class Rows:
    """State of the rows still in the batch; `keep` drops rows from every field."""

    index_B: torch.Tensor  # number of the row in the caller's batch
    limit_B: torch.Tensor  # maximum number of new tokens
    position_B: torch.Tensor  # position of the token to feed next
    bias_BT: torch.Tensor  # additive attention mask: 0, or -inf on a prompt's left padding
    answer_BT: torch.Tensor  # tokens drawn so far
    ended_B: torch.Tensor  # boolean: already yielded
    seen_BV: torch.Tensor | None  # for the repetition penalty
    key_BT: torch.Tensor | None  # for sampling

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows (indices into B)."""
        for name, value in vars(self).items():
            if value is not None:
                setattr(self, name, value.index_select(0, rows))


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    decoding: Decoding,
    end_ids: Sequence[int],
    key_BT: torch.Tensor | None = None,
    stops: StopStrings | None = None,
    check_every: int = 1,
) -> Iterator[tuple[int, list[int]]]:
    """Answer a batch of prompts.

    Prompts are left-padded, with their own positions and a mask, so that a row's logits do not depend on the other
    rows. Finished rows leave the batch during the loop.

    Args:
        model: In evaluation mode.
        prompts: B lists of token ids, none empty.
        limits: B maximum numbers of new tokens, each 1 or more.
        decoding: Temperature, top-k, top-p and repetition penalty.
        end_ids: Tokens that end an answer.
        key_BT: Random key of each new token, for sampling; None: greedy.
        stops: Stop strings, or None.
        check_every: Look for finished rows every N tokens: on a GPU, each check waits for the device, which then idles.

    Yields:
        (row, ids), each row once, as it finishes; ids end with the end token if one was drawn.
    """
    rows, ids_BT = _start(prompts, limits, decoding, model.config.vocab_size, model.device, model.dtype, key_BT)
    batch, last = _Batch(model, rows, ids_BT), max(limits)
    ends = torch.tensor(list(end_ids), device=model.device)
    completing_V = None if stops is None or not stops.strings else _completing(stops, model)
    for step in range(last):
        rows.answer_BT[:, step] = _choose(batch.next_logits(step), rows, decoding, step)
        if (step + 1) % check_every == 0 or step + 1 == last:
            yield from _ended(rows, step, check_every, ends, stops, completing_V)
            if rows.ended_B.all():
                return
            batch.drop_ended()


class _Batch:
    """The model with its cache: takes the prompts in the first step, then one drawn token per step."""

    def __init__(self, model: PreTrainedModel, rows: Rows, ids_BT: torch.Tensor) -> None:
        self.model, self.rows, self.ids_BT = model, rows, ids_BT
        self.cache = growing_cache(model.config)
        # Other backends (flash attention) take the plain padding mask and build their own inputs from it.
        self.plain = model.config._attn_implementation not in ADDITIVE_MASKS

    def next_logits(self, step: int) -> torch.Tensor:
        """Return logits, B x V, after the prompts (step 0) or after the token drawn in the previous step."""
        rows, length = self.rows, self.ids_BT.shape[1]
        if step == 0:
            feed, bias_BT = self.ids_BT, rows.bias_BT[:, :length]
            back_T = torch.arange(length, device=feed.device) - (length - 1)
            positions = (rows.position_B[:, None] + back_T).clamp(min=0)
        else:
            rows.position_B = rows.position_B + 1
            feed, bias_BT = rows.answer_BT[:, step - 1, None], rows.bias_BT[:, : length + step]
            positions = rows.position_B[:, None]
        output = self.model(
            input_ids=feed,
            attention_mask=self._mask(bias_BT, step),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def _mask(self, bias_BT: torch.Tensor, step: int) -> torch.Tensor:
        if self.plain:
            return bias_BT == 0
        return _prefill_mask(bias_BT) if step == 0 else bias_BT[:, None, None]

    def drop_ended(self) -> None:
        """Drop the finished rows once they are `DROP_SHARE` of the batch."""
        kept = (~self.rows.ended_B).nonzero().squeeze(1)
        if len(kept) <= (1 - DROP_SHARE) * len(self.rows.ended_B):
            self.rows.keep(kept)
            keep_rows(self.cache, kept)


def _completing(stops: StopStrings, model: PreTrainedModel) -> torch.Tensor:
    """Extend `stops.completing` to the model's vocabulary, which is padded beyond the tokenizer's."""
    unused = max(0, model.config.vocab_size - len(stops.completing))
    return F.pad(stops.completing, (0, unused)).to(model.device)


def _start(
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    decoding: Decoding,
    vocabulary: int,
    device: torch.device,
    dtype: torch.dtype,
    key_BT: torch.Tensor | None,
) -> tuple[Rows, torch.Tensor]:
    count, longest, new = len(prompts), max(map(len, prompts)), max(limits)
    ids_BT = torch.zeros(count, longest, dtype=torch.long)
    bias_BT = torch.zeros(count, longest + new, dtype=dtype)
    seen_BV = torch.zeros(count, vocabulary, dtype=torch.bool) if decoding.repetition_penalty != 1 else None
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.tensor(prompt)
        bias_BT[row, : longest - len(prompt)] = -torch.inf
        if seen_BV is not None:
            seen_BV[row, torch.tensor(prompt)] = True
    rows = Rows(
        index_B=torch.arange(count, device=device),
        limit_B=torch.tensor(limits, device=device),
        position_B=torch.tensor([len(prompt) - 1 for prompt in prompts], device=device),
        bias_BT=bias_BT.to(device),
        answer_BT=torch.zeros(count, new, dtype=torch.long, device=device),
        ended_B=torch.zeros(count, dtype=torch.bool, device=device),
        seen_BV=None if seen_BV is None else seen_BV.to(device),
        key_BT=None if key_BT is None else key_BT.to(device),
    )
    return rows, ids_BT.to(device)


def _prefill_mask(bias_BT: torch.Tensor) -> torch.Tensor:
    """Build a causal mask with padding, B x 1 x T x T; padding attends to itself: a row of -inf would give NaN."""
    length = bias_BT.shape[1]
    future = torch.full((length, length), -torch.inf, dtype=bias_BT.dtype, device=bias_BT.device).triu(1)
    mask = (bias_BT[:, None, :] + future)[:, None]
    mask.diagonal(dim1=-2, dim2=-1).zero_()
    return mask


def _choose(logits_BV: torch.Tensor, rows: Rows, decoding: Decoding, step: int) -> torch.Tensor:
    if rows.seen_BV is not None:
        logits_BV = penalize(logits_BV, rows.seen_BV, decoding.repetition_penalty)
    if decoding.temperature == 0:
        token_B = logits_BV.argmax(-1)
    else:
        assert rows.key_BT is not None, "sampling needs one key per row and token"
        token_B = draw(logits_BV, rows.key_BT[:, step], decoding.temperature, decoding.top_k, decoding.top_p)
    if rows.seen_BV is not None:
        rows.seen_BV.scatter_(1, token_B[:, None], True)
    return token_B


def _ended(
    rows: Rows,
    step: int,
    window: int,
    ends: torch.Tensor,
    stops: StopStrings | None,
    completing_V: torch.Tensor | None,
) -> Iterator[tuple[int, list[int]]]:
    """Yield the rows that finished in the last `window` tokens, and mark them."""
    # Decoding ids to text is slow, so only rows that drew an end token, drew a token that can complete a stop string,
    # or reached their limit are checked.
    recent_BT = rows.answer_BT[:, max(0, step + 1 - window) : step + 1]
    over_B = torch.isin(recent_BT, ends).any(-1) | (rows.limit_B <= step + 1)
    look_B = over_B if completing_V is None else over_B | completing_V[recent_BT].any(-1)
    for row in (look_B & ~rows.ended_B).nonzero().squeeze(1).tolist():
        ids = _answer(rows.answer_BT[row, : step + 1].tolist(), int(rows.limit_B[row]), set(ends.tolist()))
        stopped = stops.end(ids, len(ids) - window) if stops is not None else None
        if stopped is not None or bool(over_B[row]):
            rows.ended_B[row] = True
            yield int(rows.index_B[row]), ids[:stopped]


def _answer(ids: list[int], limit: int, ends: set[int]) -> list[int]:
    ids = ids[:limit]
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    return ids if stop is None else ids[: stop + 1]
