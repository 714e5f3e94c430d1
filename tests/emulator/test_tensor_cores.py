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


# Row and column of element i of a lane's fragment, as the PTX ISA words it ("Matrix Fragments for mma.m16n8k16 with
# floating point type", "... for mma.m16n8k8"): groupID = %laneid >> 2, threadID_in_group = %laneid % 4.
GROUP, MEMBER = [lane >> 2 for lane in range(32)], [lane % 4 for lane in range(32)]


def a_of_halves(lane, i):
    row = GROUP[lane] if 0 <= i < 2 or 4 <= i < 6 else GROUP[lane] + 8
    return row, MEMBER[lane] * 2 + (i & 1) + (8 if i >= 4 else 0)


def b_of_halves(lane, i):
    return MEMBER[lane] * 2 + (i & 1) + (8 if i >= 2 else 0), GROUP[lane]


def c_of_floats(lane, i):
    return GROUP[lane] if i < 2 else GROUP[lane] + 8, MEMBER[lane] * 2 + (i & 1)


def a_of_tf32(lane, i):
    return GROUP[lane] if i in (0, 2) else GROUP[lane] + 8, MEMBER[lane] if i in (0, 1) else MEMBER[lane] + 4


def b_of_tf32(lane, i):
    return MEMBER[lane] if i == 0 else MEMBER[lane] + 4, GROUP[lane]


def fragment(matrix, place, count):
    """(32, count): what the lanes hold of it."""
    return torch.stack([torch.stack([matrix[place(lane, i)] for i in range(count)]) for lane in range(32)])


KINDS = {
    "half": (torch.float16, 16, (a_of_halves, 8), (b_of_halves, 4)),
    "bfloat16": (torch.bfloat16, 16, (a_of_halves, 8), (b_of_halves, 4)),
    "tf32": (torch.float32, 8, (a_of_tf32, 4), (b_of_tf32, 2)),
}


@pytest.mark.parametrize("name", KINDS)
def test_fragments_are_those_of_the_ptx_manual(products, name):
    """The second element of a register is its upper half, so memory has a lane's elements in their order."""
    dtype, depth, of_a, of_b = KINDS[name]
    a, b, c = (torch.randint(-8, 9, shape).to(dtype) for shape in ((16, depth), (depth, 8), (16, 8)))  # exact in all
    sums = fragment(c.float(), c_of_floats, 4)
    getattr(products, f"multiply_registers_{name}")(fragment(a, *of_a), fragment(b, *of_b), sums)
    assert torch.equal(sums, fragment(c.float() + a.float() @ b.float(), c_of_floats, 4))


def test_loaded_matrices_are_those_of_the_ptx_manual(products):
    """ldmatrix.x4: lanes 8 m to 8 m + 7 address the rows of matrix m; lane i gets elements 2 (i % 4) and the next of
    row i / 4 of each, and with .trans of column i / 4.
    """
    rows, values = torch.randperm(32).int(), torch.randint(-(2**15), 2**15, (32, 8)).short()
    plain, transposed = (torch.zeros(32, 4, 2, dtype=torch.int16) for _ in range(2))
    products.load(values, rows, plain, transposed)
    matrices = values[rows.long()].view(4, 8, 8)
    for lane in range(32):
        group, first = GROUP[lane], 2 * MEMBER[lane]
        assert torch.equal(plain[lane], matrices[:, group, first : first + 2])
        assert torch.equal(transposed[lane], matrices[:, first : first + 2, group])


def test_a_copy_from_an_odd_address_is_reported(products):
    a, c = torch.zeros(257, dtype=torch.float16), torch.zeros(16, 8)
    with pytest.raises(EmulatorError, match=r"tensor_cores\.cu:\d+: misaligned access: cp.async of 16 bytes"):
        products.multiply_half(a[1:], a, c, True)
