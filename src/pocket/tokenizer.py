"""The pocket tokenizer: byte-level BPE trained on the pocket corpus, with a ChatML template."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from src.data.examples import Example

VOCABULARY = 1024  # tokens, including the 256 bytes and the three special ones
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Role names appear in no program: repeat them so that the trainer sees them as often as common words.
_ROLES = ["system\n", "user\n", "assistant\n"] * 1000


def train_tokenizer(rows: Iterable[Example], vocabulary: int, context_length: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer; equal rows give equal merges.

    Args:
        rows: Their prompts and answers are the corpus.
        vocabulary: Size, including the 256 bytes and the three special tokens.
        context_length: Recorded as the longest input.

    Returns:
        A tokenizer that ends a turn with `<|im_end|>` and pads with `<|endoftext|>` on the right.
    """
    tokenizer = Tokenizer(models.BPE())
    # AutoTokenizer sees a Qwen2 config and loads that family's text splitting, so train with the same
    family = Qwen2Tokenizer().backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = family.normalizer, family.pre_tokenizer
    tokenizer.decoder = family.decoder
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [text for row in rows for text in (row.prompt, row.answer) if text]
    tokenizer.train_from_iterator([*texts, *_ROLES], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[START],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=context_length,
    )
