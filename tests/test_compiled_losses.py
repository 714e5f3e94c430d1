"""The losses under torch.compile as batches change their size, as the last batch of an epoch does."""

import pytest
import torch
from checks import needs_native
from torch._dynamo.testing import CompileCounterWithBackend

from dssl_ops import barlow_twins, directional_loss, info_nce, nt_xent

QUEUE = torch.randn(20, 8)
LOSSES = {
    "nt_xent": nt_xent,
    "info_nce": info_nce,
    "info_nce with a queue": lambda a, b: info_nce(a, b, QUEUE),
    "directional_loss": lambda a, b: directional_loss([a] * 4, [b] * 2),
    "barlow_twins": barlow_twins,
}


@needs_native
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_new_batch_size_is_compiled_once_for_all_that_follow(loss):
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    for size in (5, 7, 9, 16, 33):
        a, b = (torch.randn(size, 8, requires_grad=True) for _ in range(2))
        (got,), (want,) = (torch.autograd.grad(f(a, b), a) for f in (compiled, loss))
        assert torch.equal(got, want)
    assert counter.frame_count == 2  # for the first size, then for any
