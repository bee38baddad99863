"So many at a time: one rule for whoever captions, and lists that hold no more than was asked for."

import pytest
from small_models import pixels, small_model
from torch import nn

from imgcap.devices import in_batches, pictures_at_a_time
from imgcap.infer import Captioner
from imgcap.train.validation import caption_rows


@pytest.mark.parametrize("n, size, lists", [
    (0, 3, []), (2, 3, [[0, 1]]), (3, 3, [[0, 1, 2]]), (4, 3, [[0, 1, 2], [3]]),
    (3, 1, [[0], [1], [2]])])
def test_lists_of_at_most_so_many(n, size, lists):
    assert list(in_batches(range(n), size)) == list(in_batches(iter(range(n)), size)) == lists


def test_no_more_is_taken_than_a_list_holds():
    taken = []
    batches = in_batches((taken.append(n) or n for n in range(10)), 4)
    assert next(batches) == [0, 1, 2, 3] == taken


@pytest.mark.parametrize("weights, together", [(10, 64), (20_000_000, 16)])
def test_validation_and_captioner_see_as_many_at_a_time(weights, together):
    model, processor = small_model("git")
    model.further = nn.Linear(weights, 1, bias=False, device="meta")
    assert pictures_at_a_time(model) == together
    assert Captioner(model, processor=processor).batch_size == together
    seen = []

    class Collator:
        def __init__(self): self.processor = processor

        def see(self, rows):
            seen.append(len(rows))
            return rows[:1], pixels(processor, 1)

    list(caption_rows(model, Collator(), ({"image_id": n} for n in range(70)), max_new_tokens=1))
    assert seen[0] == together
