"""The CUDA kernels of Barlow Twins on the emulator, torch making the products, against the formula in float64."""

import pytest
import torch
from checks import CODES, relative_error

from dssl_ops import barlow_twins_reference
from emulator import ORDERS, emulated

# Relative errors of loss and gradient on the same rounded inputs: standardised views and their products are float32;
# gradients of half types are rounded once more, by up to 2^-8 or 2^-11 of an entry.
BOUNDS = {torch.float64: (1e-13, 1e-11), torch.float32: (2e-6, 1e-5)}
BOUNDS |= {torch.bfloat16: (2e-6, 1.1 * 2**-8), torch.float16: (2e-6, 1.1 * 2**-11)}
SHAPES = [(5, 1), (7, 5), (13, 33), (40, 31), (9, 70), (3, 131)]  # the last two through rows
pytestmark = pytest.mark.usefixtures("poisoned_memory")


def run(z_a, z_b, upstream, lambd=0.0051, scale=1.5, eps=1e-5, **how):
    """Loss and gradients by the launches and products that barlow_twins_cuda.cpp makes."""
    library, shape, code = emulated("barlow_twins"), z_a.shape, CODES[z_a.dtype]
    wide = torch.float64 if z_a.dtype == torch.float64 else torch.float32
    x, y, x_again, y_again = (torch.empty(shape, dtype=wide) for _ in range(4))
    features, loss = torch.empty(5, shape[1], dtype=torch.float64), torch.empty((), dtype=wide)
    views = (z_a, z_a.stride(0), z_b, z_b.stride(0), *shape, code)
    library.barlow_twins_standardise_launch(*views, eps, x, y, features, **how)
    by_rows = shape[1] >= 2 * shape[0]
    matrices = torch.stack([x @ x.t(), y @ y.t()]) if by_rows else x.t() @ y
    partials = torch.empty(256, dtype=torch.float64)
    library.barlow_twins_loss_launch(matrices, *shape, code, features, lambd, scale, partials, loss, **how)
    library.barlow_twins_standardise_launch(*views, -1.0, x_again, y_again, features, **how)
    assert torch.equal(x, x_again) and torch.equal(y, y_again)
    of_x, of_y = (matrices[1] @ x, matrices[0] @ y) if by_rows else (y @ matrices.t(), x @ matrices)
    gradients = [torch.empty_like(z_a), torch.empty_like(z_b)]
    library.barlow_twins_backward_launch(
        of_x.contiguous(), of_y.contiguous(), x, y, features, upstream, *shape, code, lambd, scale, *gradients, **how
    )
    return loss, gradients


def draw(shape, dtype):
    generator = torch.Generator().manual_seed(sum(shape))
    common = torch.randn(shape, generator=generator, dtype=torch.float64)
    return [(common + torch.randn(shape, generator=generator, dtype=torch.float64) + 3).to(dtype) for _ in range(2)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_values_and_gradients(dtype, order):
    for shape in SHAPES:
        views, upstream = draw(shape, dtype), torch.tensor(-1.7, dtype=torch.float64)
        leaves = [z.double().requires_grad_() for z in views]
        want = barlow_twins_reference(*leaves, 0.0051, 1.5)
        true = torch.autograd.grad(want, leaves, upstream)
        loss, gradients = run(*views, upstream, order=order)
        value_bound, gradient_bound = BOUNDS[dtype]
        assert relative_error(loss, want.detach()) <= value_bound, shape
        for mine, right in zip(gradients, true):
            assert mine.dtype == dtype
            assert (mine.double() - right).norm() <= gradient_bound * right.norm(), shape


def test_orders_change_no_bit():
    views, upstream = draw((40, 31), torch.float32), torch.tensor(1.0, dtype=torch.float64)
    results = [run(*views, upstream, order=order) for order in ORDERS]
    for loss, gradients in results[1:]:
        assert torch.equal(loss, results[0][0]) and all(map(torch.equal, gradients, results[0][1]))


def test_a_constant_feature_has_gradients_of_its_spread_alone():
    z_a, z_b = draw((12, 5), torch.float32)
    z_a[:, 2] = 4
    loss, gradients = run(z_a, z_b, torch.tensor(1.0, dtype=torch.float64))
    assert loss.isfinite() and all(g.isfinite().all() for g in gradients) and gradients[0][:, 2].any()
