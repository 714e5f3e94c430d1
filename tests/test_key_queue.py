"""KeyQueue against a plain list of the last keys."""

import pytest
import torch

from dssl_ops import KeyQueue


@pytest.mark.parametrize("size", [1, 5, 8, 13])
def test_it_holds_the_last_keys_whatever_the_batch_sizes(size):
    queue = KeyQueue(size, 3)
    written = []
    for step, count in enumerate((4, 4, 1, 0, 7, 30, 5, 8, 13, 2)):
        keys = torch.full((count, 3), float(step)) + torch.arange(count)[:, None] / 100
        before = queue.keys.data_ptr()
        queue.enqueue(keys)
        assert queue.keys.data_ptr() == before
        written += keys.tolist()
        held = sorted(queue.keys.tolist())
        assert len(written) < size or held == sorted(written[-size:])
        assert queue.pointer == len(written) % size


def test_it_starts_with_unit_rows_that_a_generator_decides():
    a, b = (KeyQueue(9, 4, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a.keys, b.keys)
    torch.testing.assert_close(a.keys.norm(dim=1), torch.ones(9))


def test_state_dict_goes_on_where_it_stopped():
    queue, other = KeyQueue(5, 2), KeyQueue(5, 2)
    queue.enqueue(torch.randn(3, 2))
    other.load_state_dict(queue.state_dict())
    assert set(queue.state_dict()) == {"keys", "pointer"}
    more = torch.randn(4, 2)
    queue.enqueue(more)
    other.enqueue(more)
    assert torch.equal(queue.keys, other.keys) and queue.pointer == other.pointer


def test_keys_of_another_type_are_converted_and_give_no_graph():
    queue = KeyQueue(4, 2, dtype=torch.bfloat16)
    queue.enqueue(torch.ones(2, 2, requires_grad=True))
    assert queue.keys.dtype == torch.bfloat16 and not queue.keys.requires_grad and queue.keys[:2].eq(1).all()
    assert repr(queue) == "KeyQueue(size=4, width=2)"


@pytest.mark.parametrize("keys", [torch.ones(3), torch.ones(3, 4), torch.ones(3, 2, dtype=torch.int64)])
def test_bad_input_gives_one_clear_error(keys):
    with pytest.raises(ValueError, match=r"KeyQueue.enqueue: keys must be floating point of shape \(N, 2\); got"):
        KeyQueue(4, 2).enqueue(keys)
    with pytest.raises(ValueError, match=r"size and width must be whole numbers in 1..2.31-1; got 0 and 2"):
        KeyQueue(0, 2)
