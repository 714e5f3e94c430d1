"""What the property tests draw: tensors of any layout, type and number, and the modes that torch has for them."""

import contextlib
import math

import torch
from hypothesis import strategies as st

FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
WRONG = (torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn)
DOCUMENTED = (ValueError, TypeError, NotImplementedError)  # what Python's checks raise
MODES = {
    "plain": contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}

sizes = st.one_of(st.integers(0, 9), st.sampled_from((15, 16, 17, 31, 33, 64, 65, 127, 130)))
modes = st.sampled_from(list(MODES))
seeds = st.integers(0, 2**31)
numbers = st.sampled_from(("normal", "normal", "zero rows", "tiny", "huge", "nan", "inf", "constant"))
layouts = st.sampled_from(("dense", "dense", "columns", "rows", "transposed", "expanded", "offset"))
reals = st.one_of(
    st.floats(), st.integers(-3, 300), st.sampled_from((0.5, 1e-320, 1e9, -1e9, 1e300, 10**400, True, None, "1", 1j))
)
junk = st.sampled_from((None, 3, "x", [], [[1.0, 2.0]], object(), torch.zeros(2, 3).to_sparse(), torch.zeros(2, 3, 4)))


def laid_out(values, layout):
    """The same numbers in another layout; "expanded" repeats the first row."""
    rows, columns = values.shape
    if layout == "columns":
        return torch.stack([values, values], dim=2).flatten(1)[:, ::2]
    if layout == "rows":
        return torch.cat([values, values], dim=1)[:, :columns]
    if layout == "transposed":
        return values.t().contiguous().t()
    if layout == "expanded" and rows:
        return values[:1].expand(rows, columns)
    if layout == "offset":
        return torch.cat([values.new_zeros(3), values.flatten()])[3:].view(rows, columns)
    return values


@st.composite
def rows(draw, count=sizes, width=sizes, dtype=None, kind=numbers, layout=layouts):
    """(count, width) numbers of one kind; the type is any float's unless given."""
    count, width, kind = draw(count), draw(width), draw(kind)
    dtype = draw(st.sampled_from(FLOATS)) if dtype is None else dtype
    values = torch.randn(count, width, generator=torch.Generator().manual_seed(draw(seeds)), dtype=torch.float64)
    largest = torch.finfo(dtype).max if dtype in FLOATS else 100
    if kind == "zero rows":
        values[::2] = 0
    elif kind == "tiny":
        values *= torch.finfo(dtype).smallest_normal if dtype in FLOATS else 1
    elif kind == "huge":
        values = values.clamp(-3, 3) * (largest / 4)
    elif kind == "constant":
        values.fill_(0.5)
    elif kind in ("nan", "inf") and values.numel():
        values.view(-1)[draw(st.integers(0, values.numel() - 1))] = math.nan if kind == "nan" else math.inf
    return laid_out(values.to(dtype), draw(layout))


def tame(*tensors):
    """Whether the numbers are such that a comparison with float64 says something: finite and not extreme."""
    finite = (tensor[torch.isfinite(tensor)].double().abs() for tensor in tensors)
    ordinary = all(bool(((x == 0) | ((x > 1e-6) & (x < 1e4))).all()) for x in finite)
    return ordinary and all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def agree(got, truth, relative=1e-4, absolute=1e-5):
    """Equal where the truth is finite, and finite nowhere else."""
    got, truth = got.detach().double(), truth.detach().double()
    assert got.shape == truth.shape
    assert torch.equal(torch.isfinite(got), torch.isfinite(truth)), (got, truth)
    finite = torch.isfinite(truth)
    assert torch.allclose(got[finite], truth[finite], rtol=relative, atol=absolute), (got, truth)


def refused(f, op, *more):
    """Whether f is refused by an error that its docs name and whose line begins with the op."""
    try:
        f()
    except (*DOCUMENTED, *more) as error:
        assert str(error).startswith(op), repr(error)
        return True
    return False
