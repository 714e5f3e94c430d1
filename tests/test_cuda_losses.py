"""The losses on a GPU: against the CPU, opcheck, CUDA graphs, streams. tests/emulator runs their kernels without one.

`compute-sanitizer --tool memcheck python -m pytest -m cuda`, and the same with racecheck, initcheck and synccheck, look
deeper where a GPU and the toolkit are at hand.
"""

import pytest
import torch
from checks import never_waiting, relative_error
from torch.library import opcheck

from dssl_ops import ViewGraph, barlow_twins, directional_loss, info_nce, nt_xent

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
GPU = torch.device("cuda")
LOSSES = {
    "directional_loss": (6, lambda *v: directional_loss(v[:4], v[4:])),
    "eq6": (8, lambda *v: directional_loss(v[:4], v[4:], ViewGraph.weighted(1, 0.3, 0.9, 0.1))),
    "nt_xent": (2, nt_xent),
    "decoupled": (2, lambda a, b: nt_xent(a, b, 0.1, decoupled=True)),
    "info_nce": (3, lambda q, k, queue: info_nce(q, k, queue.detach(), 0.2)),
    "barlow_twins": (2, barlow_twins),
}
# Relative errors of gradients against the CPU in float64, as tests/emulator states them.
BOUNDS = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 4 * 2**-9, torch.float16: 4 * 2**-12}
each_loss = pytest.mark.parametrize("count, loss", LOSSES.values(), ids=LOSSES)


def views(count, shape=(67, 131), dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(shape, generator=generator)
    return [(common + torch.randn(shape, generator=generator)).to(dtype) for _ in range(count)]


def with_gradients(loss, inputs, device, dtype=None):
    """Of an upstream gradient as loss scaling has it: float16 would keep few digits of small ones."""
    leaves = [x.to(device, dtype, copy=True).requires_grad_() for x in inputs]
    value = loss(*leaves)
    value.backward(torch.tensor(1700.0, device=device, dtype=value.dtype))
    return value.detach().cpu(), [x.grad.cpu() for x in leaves if x.grad is not None]


@each_loss
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("shape", [(1, 7), (67, 131), (300, 128), (64, 1025)], ids=str)
def test_values_and_gradients_equal_the_cpu(count, loss, dtype, shape):
    if shape[0] == 1 and loss not in (LOSSES["directional_loss"][1], LOSSES["eq6"][1]):
        return  # one row has no negatives and no variance
    inputs = views(count, shape, dtype)
    got, want = with_gradients(loss, inputs, GPU), with_gradients(loss, inputs, "cpu", torch.float64)
    assert relative_error(got[0], want[0]) <= 1e-5
    assert all(relative_error(a, b) <= BOUNDS[dtype] for a, b in zip(got[1], want[1], strict=True))


@each_loss
def test_the_same_bits_every_time(count, loss):
    first, second = (with_gradients(loss, views(count), GPU) for _ in range(2))
    assert torch.equal(first[0], second[0]) and all(map(torch.equal, first[1], second[1]))


@each_loss
def test_empty_batch(count, loss):
    if loss is not barlow_twins:  # which refuses it
        assert loss(*(x.to(GPU) for x in views(count, (0, 8)))) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tf32_is_asked_for_and_half_types_are_close(dtype):
    inputs = [x.to(GPU, dtype) for x in views(2, (300, 128))]
    exact = nt_xent(*(x.double() for x in inputs))
    before = torch.backends.cuda.matmul.fp32_precision
    try:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        assert abs(nt_xent(*inputs) - exact) <= 1e-3 * exact
    finally:
        torch.backends.cuda.matmul.fp32_precision = before
    assert abs(nt_xent(*inputs) - exact) <= 2e-6 * exact


def test_temperature_gets_its_gradient():
    gradients = []
    for device in ("cpu", GPU):
        temperature = torch.tensor(0.3, device=device, requires_grad=True)
        nt_xent(*(x.to(device) for x in views(2)), temperature).backward()
        gradients.append(temperature.grad.cpu())
    assert relative_error(gradients[1], gradients[0]) <= 1e-4


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own reading
def test_opcheck():
    ops = torch.ops.dssl_ops
    rows = [x.to(GPU).requires_grad_() for x in views(6, (6, 10))]
    edges, weights = [0, 1, 1, 0, 2, 0, 3, 1], [0.5] * 4
    opcheck(ops.directional_loss.default, (rows[:4], [t.detach() for t in rows[4:]], edges, weights, None, 2))
    temperature = torch.tensor(0.5, dtype=torch.float64, device=GPU)
    opcheck(ops.nt_xent.default, (rows[:2], [], None, None, None, False, temperature, False, 2, True, False))
    columns = (torch.arange(6, device=GPU), torch.full((6,), -1, device=GPU))
    queued = (rows[:1], rows[1:2], rows[2].detach(), *columns, True, temperature, False, 0, True, False)
    opcheck(ops.nt_xent.default, queued)
    opcheck(ops.barlow_twins.default, (*rows[:2], 0.1, 1.0, 1e-5))


@each_loss
def test_a_cuda_graph_replays_forward_and_backward(count, loss):
    inputs = [x.to(GPU).requires_grad_() for x in views(count)]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # loads the kernels outside the capture, and makes the .grad tensors
        loss(*inputs).backward()
    torch.cuda.current_stream().wait_stream(stream)
    for x in inputs:
        x.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss(*inputs)
        value.backward()
    fresh = [x + 1 for x in views(count)]
    with torch.no_grad():
        for x, new in zip(inputs, fresh):
            x.copy_(new)
    graph.replay()
    leaves = [x.to(GPU).requires_grad_() for x in fresh]
    want = loss(*leaves)
    want.backward()
    assert torch.equal(value, want)
    assert all(a.grad is b.grad is None or torch.equal(a.grad, b.grad) for a, b in zip(inputs, leaves))


@each_loss
def test_it_runs_on_the_current_stream(count, loss):
    """On a stream that is still busy the kernels must wait for what the stream writes."""
    source = [x.to(GPU) for x in views(count)]
    late, want = [torch.zeros_like(x) for x in source], loss(*source)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        for x, written in zip(late, source):
            x.copy_(written)
        got = loss(*late)
    stream.synchronize()
    assert torch.equal(got, want)


@each_loss
def test_no_host_synchronisation(count, loss):
    inputs = [x.to(GPU).requires_grad_() for x in views(count)]
    loss(*inputs).backward()
    with never_waiting():
        loss(*inputs).backward()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
@each_loss
def test_the_device_of_the_rows_counts_not_the_current_one(count, loss):
    got = loss(*(x.to("cuda:1") for x in views(count)))
    assert relative_error(got.cpu(), loss(*views(count))) <= 1e-5
