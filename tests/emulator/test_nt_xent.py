"""The CUDA kernels of NT-Xent and InfoNCE on the emulator, against the formula in float64 with the whole matrix."""

import pytest
import torch
from checks import CODES, relative_error

from emulator import ORDERS, emulated

# Relative errors of loss and gradients on the same rounded inputs. Cosines are float32 sums of exact products, wrong by
# up to 2^-22 or so, which a temperature of 0.5 doubles. On tensor cores slopes are rounded to the inputs' type before
# they multiply rows, and gradients once more when they are written: entries err by 2^-8 (bfloat16) or 2^-11 each time,
# the norm of a matrix by about half of that. tf32 rounds both operands of both products by up to 2^-11.
BOUNDS = {torch.float64: (1e-13, 1e-12), torch.float32: (2e-6, 4e-6)}
BOUNDS |= {torch.bfloat16: (2e-6, 2 * 2**-9), torch.float16: (2e-6, 2 * 2**-12), "tf32": (2 * 2**-11, 8 * 2**-11)}
pytestmark = pytest.mark.usefixtures("poisoned_memory")


def truth(rows, columns, positive, excluded, skipped, temperature, decoupled):
    """Loss of each row, and whether its positive is the nearest column."""
    x = torch.cat(rows)
    y, count = torch.cat(columns) if columns else x, x.shape[0]
    if not columns:
        positive, excluded = torch.arange(count).roll(count // 2), torch.arange(count)
    units = [z / z.norm(dim=1, keepdim=True).clamp_min(1e-300) for z in (x, y)]
    logits = units[0] @ units[1].t() / temperature
    column = torch.arange(y.shape[0])
    is_positive = column == positive[:, None]
    never = is_positive | (column == excluded[:, None]) | (column < skipped)
    own = (logits * is_positive).sum(1)
    negatives = logits.masked_fill(never, -torch.inf)
    if not decoupled:
        negatives = torch.cat([negatives, own[:, None]], 1)
    return negatives.logsumexp(1) - own, own > logits.masked_fill(never, -torch.inf).amax(1)


class Case:
    """A problem as nt_xent_cuda.cpp passes it on: forward() and backward() make its launches."""

    def __init__(self, rows, columns=(), owned=0, pairs=None, skipped=0, temperature=0.5, decoupled=False, tf32=False):
        self.rows, self.columns, self.owned, self.skipped = list(rows), list(columns), owned, skipped
        self.positive, self.excluded = pairs or (None, None)
        self.temperature = torch.tensor(temperature, dtype=torch.float64)
        self.decoupled, self.tf32 = decoupled, tf32
        self.dtype, self.width = rows[0].dtype, rows[0].shape[1]
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.counts = [sum(z.shape[0] for z in side) for side in (self.rows, self.columns)]
        owned_rows, size = sum(z.shape[0] for z in self.columns[:owned]), torch.zeros(1, dtype=torch.int64)
        library = emulated("nt_xent")
        rows, others = self.counts[0], self.counts[1] if columns else -1
        library.nt_xent_workspace(rows, others, owned_rows, self.width, CODES[self.dtype], size)
        self.workspace = torch.empty(int(size), dtype=torch.uint8)

    def inputs(self):
        """The struct of this name in nt_xent_cuda.h."""
        sides = []
        for side in (self.rows, self.columns):
            sides.append((side, [z.shape[0] for z in side], [z.stride(0) for z in side], len(side)))
        return (*sides, self.positive, self.excluded, self.skipped, self.width, CODES[self.dtype], self.tf32,
                self.temperature, self.decoupled, self.workspace)  # fmt: skip

    def forward(self, reduction="mean", **how):
        count, per_row = self.counts[0], reduction == "none"
        self.positives, self.negatives, self.nearest = torch.empty(3, count, dtype=torch.float64)
        loss = torch.empty(count if per_row else (), dtype=self.wide)
        emulated("nt_xent").nt_xent_launch(
            self.inputs(), self.positives, self.negatives, self.nearest, torch.empty(count, dtype=torch.float64),
            loss, per_row, 1 / max(1, count) if reduction == "mean" else 1.0, **how,
        )  # fmt: skip
        return loss

    def backward(self, upstream, factor=1.0, **how):
        of_rows = [torch.empty(z.shape, dtype=z.dtype) for z in self.rows]
        of_columns = [torch.empty(z.shape, dtype=z.dtype) for z in self.columns[: self.owned]]
        of_temperature = torch.empty((), dtype=torch.float64)
        emulated("nt_xent").nt_xent_backward_launch(
            self.inputs(), self.positives, self.negatives, upstream, upstream.dim() == 1, factor, of_rows, of_columns,
            self.owned, of_temperature, **how,
        )  # fmt: skip
        return [*of_rows, *of_columns], of_temperature


def check(case, reduction="mean", bounds=None, **how):
    """Values and gradients for a random upstream gradient."""
    leaves = [z.double().requires_grad_() for z in (*case.rows, *case.columns)]
    rows, columns = leaves[: len(case.rows)], leaves[len(case.rows) :]
    temperature = case.temperature.clone().requires_grad_()
    losses, hits = truth(rows, columns, case.positive, case.excluded, case.skipped, temperature, case.decoupled)
    want = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]
    value_bound, gradient_bound = bounds or BOUNDS["tf32" if case.tf32 else case.dtype]
    loss = case.forward(reduction, **how)
    assert relative_error(loss, want.detach()) <= value_bound
    if not case.tf32:
        assert torch.equal(case.positives > case.nearest, hits)
    upstream = torch.randn(want.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    wanted = [*rows, *columns[: case.owned], temperature]
    true = torch.autograd.grad(want, wanted, upstream)
    got, of_temperature = case.backward(upstream, 1 / case.counts[0] if reduction == "mean" else 1.0, **how)
    for mine, right in zip(got, true[:-1], strict=True):
        assert mine.dtype == case.dtype
        assert (mine.double() - right).norm() <= gradient_bound * right.norm() + 1e-12, float(right.norm())
    # A sum over rows of slopes, at most 2 in all for a row, times logits: their signs differ.
    scale = 2 * upstream.abs().sum() / case.temperature**2
    assert abs(of_temperature - true[-1]) <= gradient_bound * scale


def draw(*counts, width, dtype=torch.float32, seed=0):
    """Rows that resemble their counterparts in the other parts."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(max(counts), width, generator=generator, dtype=torch.float64)
    noise = [torch.randn(count, width, generator=generator, dtype=torch.float64) for count in counts]
    return [(common[: n.shape[0]] + n).to(dtype) for n in noise]


def own_pairs(count):
    return torch.arange(count), torch.full((count,), -1)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_pairs_of_views(dtype, order):
    for count, width in [(1, 8), (37, 16), (67, 66)]:
        if count == 1 or order == "forward" or width == 16:
            check(Case(draw(count, count, width=width, dtype=dtype)), order=order)


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_queries_keys_and_queue(dtype):
    queries, keys, queue = draw(9, 13, 67, width=40, dtype=dtype)
    check(Case([queries], [keys, queue], owned=1, pairs=own_pairs(9), skipped=13), "none")
    check(Case([queries], [keys], owned=1, pairs=own_pairs(9)), "sum")


def test_tf32():
    check(Case(draw(37, 37, width=70), tf32=True))
    check(Case(draw(9, 13, width=40)[:1], draw(9, 13, width=40)[1:], owned=1, pairs=own_pairs(9), tf32=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_rows_wider_than_what_a_block_keeps(dtype):
    """More than two chunks of 128 bytes, and more than one slab of gradients."""
    check(Case(draw(5, 5, width=261, dtype=dtype)))
    queries, keys, queue = draw(3, 4, 70, width=150, dtype=dtype)
    check(Case([queries], [keys, queue], owned=1, pairs=own_pairs(3), skipped=4), "none")


@pytest.mark.parametrize("width", [20, 36], ids=["two chunks", "three"])
def test_blocks_that_walk_over_several_tiles(width):
    """16 blocks of rows and 19 tiles of columns: more than the 264 blocks that are wanted, so each takes two tiles."""
    queries, keys = draw(1000, 600, width=width, dtype=torch.float64)
    check(Case([queries], [keys], pairs=(torch.arange(1000) % 600, torch.full((1000,), -1))), order="random")


@pytest.mark.parametrize("width", [16, 66], ids=["one chunk", "more"])
@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_blocks_of_the_smallest_shared_memory(dtype, width):
    """64 KiB: the slopes of narrow rows find no memory of their own beside the rows. The bits are the same."""
    results = []
    for arch in ("7.5", "9.0"):
        case = Case(draw(70, 70, width=width, dtype=dtype))
        loss = case.forward(arch=arch)
        gradients, of_temperature = case.backward(torch.tensor(1.0, dtype=torch.float64), arch=arch)
        results.append([loss, of_temperature, *gradients])
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("temperature", [0.01, 0.05, 7.0])
def test_temperatures(temperature):
    """Errors of cosines, 2e-7 or so, divided by the temperature, are those of the logits."""
    bounds = (2e-6, 4e-6 + 4e-7 / temperature)
    check(Case(draw(20, 20, width=24), temperature=temperature), bounds=bounds)
    check(Case(draw(20, 20, width=24, dtype=torch.float64), temperature=temperature))


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_decoupled(dtype):
    check(Case(draw(20, 20, width=24, dtype=dtype), decoupled=True), "none")


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_zero_rows_have_gradient_zero_and_size_does_not_matter(dtype):
    z_a, z_b = draw(9, 9, width=20, dtype=dtype)
    z_a[4] = 0
    big = 2.0 ** (10 if dtype == torch.float16 else 60)  # powers of two: the same bits but for the gradients' size
    plain, scaled = Case([z_a, z_b]), Case([z_a * big, z_b / 4])
    loss = plain.forward()
    assert loss.isfinite() and torch.equal(loss, scaled.forward())
    (of_a, of_b), of_temperature = plain.backward(torch.tensor(1.0, dtype=torch.float64))
    assert not of_a[4].any() and of_a.isfinite().all() and of_b.isfinite().all()
    (_, scaled_b), same = scaled.backward(torch.tensor(1.0, dtype=torch.float64))
    assert torch.equal(scaled_b, of_b * 4) and torch.equal(same, of_temperature)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_orders_change_no_bit(dtype):
    results = []
    for order in ORDERS:
        case = Case(draw(40, 40, width=20, dtype=dtype))
        loss = case.forward(order=order)
        gradients, of_temperature = case.backward(torch.tensor(1.0, dtype=torch.float64), order=order)
        results.append([loss, of_temperature, *gradients])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(other, results[0]))


def test_a_row_without_its_positive_and_one_whose_positive_is_not_there():
    queries, keys = draw(3, 5, width=8)
    case = Case([queries], [keys], pairs=(torch.tensor([1, -1, 5]), torch.full((3,), -1)))
    loss = case.forward("none")
    assert loss[0].isfinite() and loss[1] == torch.inf and loss[2].isnan()
    assert case.positives[1] == -torch.inf and case.negatives.isfinite().all()


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_a_shard_without_columns_adds_nothing(dtype):
    """A ring of ranks meets one that has no rows."""
    queries = draw(5, width=8, dtype=dtype)[0]
    case = Case([queries], [queries[:0]], owned=1, pairs=tuple(torch.full((2, 5), -1)))
    case.forward("none")
    assert (case.negatives == -torch.inf).all() and (case.positives == -torch.inf).all()
    case.positives, case.negatives = torch.randn(2, 5, dtype=torch.float64)  # of the other shards
    gradients, of_temperature = case.backward(torch.ones(5, dtype=torch.float64))
    assert gradients[1].shape == (0, 8) and not gradients[0].any() and of_temperature == 0


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_rows_without_entries_are_zero_rows(dtype):
    check(Case(draw(5, 5, width=0, dtype=dtype)))


@pytest.mark.parametrize("dtype", [*CODES, "tf32"], ids=str)
@pytest.mark.parametrize("at, bad", [(slice(None), torch.nan), (2, torch.inf)], ids=["nan", "inf"])
def test_what_is_not_finite_comes_out_as_nan(dtype, at, bad):
    """In a negative: the loss and the gradients of all rows. In a query or its positive: those of that row."""
    tf32 = dtype == "tf32"
    for broken, wrong in (("queue", range(9)), ("queries", [4]), ("keys", [4])):
        sides = dict(
            zip(("queries", "keys", "queue"), draw(9, 9, 67, width=20, dtype=torch.float32 if tf32 else dtype))
        )
        sides[broken][4, at] = bad
        queries, keys, queue = sides.values()
        case = Case([queries], [keys, queue], owned=1, pairs=own_pairs(9), skipped=9, tf32=tf32)
        loss = case.forward("none")
        assert loss.isnan().nonzero().flatten().tolist() == list(wrong)
        (of_queries, of_keys), of_temperature = case.backward(torch.ones(9, dtype=torch.float64))
        assert of_temperature.isnan() and of_queries[list(wrong)].isnan().all() and of_keys[4].isnan().all()
    pairs = draw(9, 9, width=20, dtype=torch.float32 if tf32 else dtype)
    pairs[1][4, at] = bad
    assert Case(pairs, tf32=tf32).forward("none").isnan().all()  # everybody's negative


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_no_rows(reduction):
    case = Case(draw(0, 0, width=8))
    assert not case.forward(reduction).any()
    gradients, of_temperature = case.backward(torch.zeros((0,) if reduction == "none" else (), dtype=torch.float64))
    assert all(g.shape == (0, 8) for g in gradients) and of_temperature == 0


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_upstreams_as_small_as_floats_go(dtype):
    """Slopes are scaled up by the largest of them, as far as floats reach; those of float32 are floats themselves."""
    case = Case(draw(20, 20, width=24, dtype=dtype))
    case.forward("sum")
    plain, _ = case.backward(torch.tensor(1.0, dtype=torch.float64))
    bound = max(torch.finfo(dtype).tiny * torch.finfo(dtype).eps, 2.0**-140)
    for exponent in (-90, -115, -120, -126, -140):
        tiny, of_temperature = case.backward(torch.tensor(2.0**exponent, dtype=torch.float64))
        assert of_temperature.isfinite()
        for got, full in zip(tiny, plain):
            assert got.isfinite().all()
            assert (got.double() - full.double() * 2.0**exponent).abs().max() <= bound


def test_gradients_of_half_types_survive_small_and_large_upstreams():
    for upstream in (2.0**-20, 2.0**16):
        case = Case(draw(20, 20, width=24, dtype=torch.float16))
        case.forward("sum")
        plain, _ = case.backward(torch.tensor(1.0, dtype=torch.float64), 2.0**-4)
        scaled, _ = case.backward(torch.tensor(upstream, dtype=torch.float64), 2.0**-4 / upstream)
        assert all(torch.equal(a, b) for a, b in zip(plain, scaled))
