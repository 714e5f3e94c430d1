"""Tensor-core fragments of common/mma.cuh, and the half types, against matrix products in float64."""

import pytest
import torch

from emulator import HERE, ORDERS, Emulated, EmulatorError

SOURCE = HERE / "kernels" / "tensor_cores.cu"


@pytest.fixture(scope="module")
def products():
    return Emulated(SOURCE, SOURCE.read_text())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype, name", [(torch.float16, "half"), (torch.bfloat16, "bfloat16")], ids=str)
def test_products_of_half_types(products, dtype, name, transposed, order):
    a, b, c = torch.randn(16, 16).to(dtype), torch.randn(16, 8).to(dtype), torch.randn(16, 8)
    truth = c.double() + a.double() @ b.double()
    given = b if transposed else b.t().contiguous()
    getattr(products, f"multiply_{name}")(a, given, c, transposed, order=order)
    assert torch.allclose(c.double(), truth, rtol=1e-6, atol=1e-6)  # one rounding to float32


def test_products_of_tf32(products):
    a, b, c = torch.randn(16, 8), torch.randn(8, 8), torch.empty(16, 8)
    products.multiply_floats(a, b, c)
    truth = tf32(a).double() @ tf32(b).double()
    assert torch.allclose(c.double(), truth, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(c.double(), a.double() @ b.double(), rtol=1e-6, atol=1e-6)  # 10 bits are fewer than 23


def tf32(values):
    """To 10 bits of mantissa, ties away from zero, through the exact scaling by powers of two."""
    mantissa, exponent = torch.frexp(values.double())
    scaled = mantissa * 2**11
    return torch.ldexp(torch.sign(scaled) * torch.floor(scaled.abs() + 0.5) / 2**11, exponent)


def test_a_copy_from_an_odd_address_is_reported(products):
    a, c = torch.zeros(257, dtype=torch.float16), torch.zeros(16, 8)
    with pytest.raises(EmulatorError, match=r"tensor_cores\.cu:\d+: misaligned access: cp.async of 16 bytes"):
        products.multiply_half(a[1:], a, c, True)
