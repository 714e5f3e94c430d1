"""jigsaw on a GPU: bits against the CPU op, opcheck, CUDA graphs, streams. tests/emulator runs its kernel without one.

`compute-sanitizer --tool memcheck python -m pytest -m cuda`, and the same with racecheck, initcheck and synccheck, look
deeper where a GPU and the toolkit are at hand.
"""

import numpy as np
import pytest
import torch
from checks import never_waiting
from test_jigsaw import DTYPES, SHAPES, draw_permutations
from torch.library import opcheck

from dssl_ops import jigsaw

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
GPU = torch.device("cuda")


def example(dtype=torch.float32, shape=(3, 32, 32, 4), batch=4, seed=0):
    channels, height, width, grid = shape
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 100, (batch, channels, height, width))).to(dtype)
    return images, grid, draw_permutations(rng, batch, height, width, grid)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_the_cpu(dtype, memory_format):
    for shape in SHAPES:
        images, grid, permutation = example(dtype, shape)
        images = images.contiguous(memory_format=memory_format)
        got = jigsaw(images.to(GPU), grid, permutation.to(GPU))
        assert got.is_contiguous(memory_format=memory_format)
        assert torch.equal(got.cpu(), jigsaw(images, grid, permutation))


def test_gradient_equals_the_cpu():
    images, grid, permutation = example()
    upstream = torch.randn_like(images)
    gradients = []
    for device in ("cpu", GPU):
        leaf = images.to(device, copy=True).requires_grad_()
        jigsaw(leaf, grid, permutation.to(device)).backward(upstream.to(device))
        gradients.append(leaf.grad.cpu())
    assert torch.equal(*gradients)


def test_empty_batch():
    images, grid, permutation = example(batch=0)
    assert jigsaw(images.to(GPU), grid, permutation.to(GPU)).shape == images.shape


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # opcheck's own reading
def test_opcheck():
    images, grid, permutation = example()
    opcheck(torch.ops.dssl_ops.jigsaw.default, (images.to(GPU).requires_grad_(), grid, permutation.to(GPU)))


def test_a_cuda_graph_replays_it_on_new_images():
    images, grid, permutation = (x.to(GPU) if isinstance(x, torch.Tensor) else x for x in example())
    jigsaw(images, grid, permutation)  # loads the kernels outside the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = jigsaw(images, grid, permutation)
    images.copy_(torch.rand_like(images))
    graph.replay()
    assert torch.equal(out.cpu(), jigsaw(images.cpu(), grid, permutation.cpu()))


def test_it_runs_on_the_current_stream():
    """On a stream that is still busy the kernel must wait for what the stream writes."""
    images, grid, permutation = example(shape=(3, 224, 224, 4), batch=16)
    late, permutation_there = torch.zeros_like(images, device=GPU), permutation.to(GPU)
    source = images.to(GPU)
    jigsaw(late, grid, permutation_there)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(source)
        got = jigsaw(late, grid, permutation_there)
    stream.synchronize()
    assert torch.equal(got.cpu(), jigsaw(images, grid, permutation))


def test_no_host_synchronisation():
    images, grid, permutation = (x.to(GPU) if isinstance(x, torch.Tensor) else x for x in example())
    jigsaw(images, grid, permutation)
    with never_waiting():
        jigsaw(images, grid, permutation)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_the_device_of_the_images_counts_not_the_current_one():
    images, grid, permutation = example()
    got = jigsaw(images.to("cuda:1"), grid, permutation.to("cuda:1"))
    assert torch.equal(got.cpu(), jigsaw(images, grid, permutation))
