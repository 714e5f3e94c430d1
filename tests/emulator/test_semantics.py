"""What the emulated functions of warps and blocks give, against PyTorch on whole rows of lanes."""

import pytest
import torch

from emulator import HERE, ORDERS, Emulated

SOURCE = HERE / "kernels" / "semantics.cu"
pytestmark = pytest.mark.parametrize("order", ORDERS)
IN = torch.randint(-99, 100, (192,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
LANES = torch.arange(32)


@pytest.fixture(scope="module")
def kernels():
    return Emulated(SOURCE, SOURCE.read_text())


def bits(rows):
    """(..., 32) booleans as signed 32-bit words."""
    words = (rows.long() << LANES).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words)


def whole(values):
    """(warps,) to every lane of the warp."""
    return values.reshape(-1, 1).expand(-1, 32)


def test_functions_of_a_warp(kernels, order):
    out = torch.zeros(14, len(IN), dtype=torch.int32)
    kernels.launch_warp_functions(IN, out, len(IN), order=order)
    warps = IN.view(-1, 32).long()
    xor = warps[:, 0].clone()
    for lane in range(1, 32):
        xor ^= warps[:, lane]
    same = (warps & 3).unsqueeze(-1) == (warps & 3).unsqueeze(-2)
    even = whole((warps[:, ::2] > 0).sum(1))
    truth = [
        whole(warps[:, 5]),
        warps[:, LANES // 8 * 8 + (LANES + 3) % 8],
        warps[:, torch.where(LANES >= 3, LANES - 3, LANES)],
        warps[:, torch.where(LANES % 16 < 14, LANES + 2, LANES)],
        warps[:, LANES ^ 12],
        whole(bits(warps > 0)),
        whole((warps > 90).any(1).long()),
        whole((warps > -100).all(1).long()),
        bits(same),
        whole(warps.sum(1)),
        whole(warps.amin(1)),
        whole(warps.amax(1)),
        whole(xor),
        torch.where(LANES % 2 == 1, warps[:, LANES ^ 2], even),
    ]
    for row, expected in enumerate(truth):
        assert torch.equal(out[row].view(-1, 32).long(), expected.reshape(-1, 32)), row


def test_barriers_that_count(kernels, order):
    out = torch.zeros(3, len(IN), dtype=torch.int32)
    kernels.launch_block_functions(IN, out, len(IN), order=order)
    blocks = IN.view(-1, 64)
    truth = [(blocks > 0).sum(1), (blocks > 95).any(1).long(), (blocks > -95).all(1).long()]
    for row, expected in enumerate(truth):
        assert torch.equal(out[row].view(-1, 64).long(), expected.reshape(-1, 1).expand(-1, 64)), row


def test_shared_memory(kernels, order):
    out = torch.zeros(2, len(IN), dtype=torch.int32)
    kernels.launch_shared_memory(IN, out, len(IN), order=order)
    assert torch.equal(out[0].view(-1, 96), IN.view(-1, 96).flip(1))
    assert torch.equal(out[1].view(-1, 96).long(), IN.view(-1, 96).cumsum(1))


def test_atomics(kernels, order):
    out, total = torch.tensor([7, 7, 7, 0], dtype=torch.int32), torch.zeros(1)
    kernels.launch_atomics(IN, out, total, len(IN), order=order)
    xor = 0
    for value in IN.tolist():
        xor ^= value
    assert out.tolist() == [7 + int(IN.sum()), min(7, int(IN.min())), max(7, int(IN.max())), xor]
    assert total.item() == IN.sum()  # integers of this size add without rounding


def test_atomics_on_shared_memory_that_plain_stores_cleared(kernels, order):
    counts = torch.full((3, 2, 8), -1, dtype=torch.int32)
    kernels.launch_shared_atomics(IN, counts, len(IN), order=order)
    for block, values in enumerate(IN.view(3, 64)):
        truth = torch.bincount(values & 7, minlength=8)
        assert torch.equal(counts[block].long(), truth.expand(2, 8)), block


def test_the_last_block_may_read_what_others_left_behind_a_fence(kernels, order):
    sums, arrived, total = (torch.zeros(n, dtype=torch.int32) for n in (6, 1, 1))
    kernels.launch_last_block(IN, sums, arrived, total, len(IN), order=order)
    assert total.item() == IN.sum()
