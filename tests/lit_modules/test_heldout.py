import pytest
import torch

from src.data.batches import held_out_rows
from src.lit_modules.heldout import row_losses
from tests.lit_modules import tiny

TABLE = tiny.tables({"a": [*tiny.rows("a", 7), *tiny.rows("b", 6, length=4)]})["a"]


@pytest.mark.parametrize("micro_batch", [1, 4, 100])
def test_each_row_has_the_loss_that_transformers_computes_for_it_alone(micro_batch):
    network = tiny.network().eval()
    found = row_losses(network, held_out_rows(TABLE, micro_batch, tiny.PAD))
    assert list(found.ids) == list(TABLE.ids)
    assert found.tokens.tolist() == TABLE.answer_lengths.tolist()
    for number in range(len(TABLE)):
        tokens, labels = (torch.from_numpy(part.astype("int64"))[None] for part in TABLE.row(number))
        with torch.no_grad():
            alone = network(input_ids=tokens, labels=labels).loss
        assert found.sums[number] / found.tokens[number] == pytest.approx(float(alone), rel=1e-5)
