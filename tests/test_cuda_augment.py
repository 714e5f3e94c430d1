"""The augmentation engine on a GPU: bits against the CPU, opcheck, CUDA graphs, streams. tests/emulator needs none.

`compute-sanitizer --tool memcheck python -m pytest -m cuda`, and the same with racecheck, initcheck and synccheck, look
deeper where a GPU and the toolkit are at hand.
"""

import pytest
import torch
from augment_cases import batches, values_of
from checks import never_waiting
from torch.library import opcheck

from dssl_ops import RaggedImages
from dssl_ops import transforms as T
from dssl_ops.augment import OPCODES, Program, augment, image_op, normalization_table

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
GPU = torch.device("cuda")
HEAVY = T.Compose((T.RandAugment(2, 9), T.Jigsaw(4)))
DIRECTED = T.DirectedViews(T.StandardView.byol(32), HEAVY)
POLICIES = {
    "author16": T.MultiView(T.RandAugment(3, 18), 2),
    "ra14": T.MultiView(T.RandAugment(3, 20, "ra14", "bilinear"), 2),
    "uniform": T.MultiView(T.UniformAugment(3), 2),
    "standard": T.MultiView(T.StandardView.imagenet(32), 2),
    "directed": DIRECTED,
}
PLAIN = [name for name in OPCODES if name not in ("Jigsaw", "ResizedCrop", "Source", "Emit")]


def same(maker, images, there, **keys):
    """Whether the views of the images and of the same images on the GPU are equal."""
    got = torch.stack(list(maker(there, seed=3, **keys)))
    return got.device.type == GPU.type and torch.equal(got.cpu(), torch.stack(list(maker(images, seed=3, **keys))))


@pytest.mark.parametrize("name", POLICIES)
def test_policies_equal_the_cpu(name):
    for images in batches():
        if min(images.shape[2:]) >= 4:
            assert same(POLICIES[name], images, images.to(GPU)), tuple(images.shape)


@pytest.mark.parametrize("name", PLAIN)
def test_steps_equal_the_cpu(rng, name):
    for images in batches():
        values = values_of(name, rng, images)
        assert torch.equal(image_op(images.to(GPU), name, values).cpu(), image_op(images, name, values)), name


@pytest.mark.parametrize("side", [160, 224, 700])
def test_large_images_equal_the_cpu(side):
    """In shared memory, or in a workspace, as the GPU has it."""
    images = torch.randint(0, 256, (300, 3, side, side), dtype=torch.uint8)
    maker = T.DirectedViews(T.StandardView.imagenet(min(side, 224)), HEAVY)
    assert same(maker, images, images.to(GPU))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_normalised_views_of_lists_and_buffers(dtype, layout):
    maker = T.MultiView(T.StandardView.imagenet(24), 2, T.Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.1), dtype))
    images = [image for batch in batches()[::2] for image in batch[:3] if image.shape[0] == 3]
    packed = RaggedImages.from_list(images)
    assert same(maker, images, [image.to(GPU) for image in images], memory_format=layout)
    assert same(maker, packed, packed.to(GPU), memory_format=layout)


def test_empty_batch_and_channels_last_images():
    assert image_op(torch.empty(0, 3, 5, 7, dtype=torch.uint8, device=GPU), "Equalize").shape == (0, 3, 5, 7)
    images = batches()[-2]
    assert same(DIRECTED, images, images.to(GPU, memory_format=torch.channels_last))


def test_opcheck():
    images = batches()[-2][:2].to(GPU)
    program = Program.from_steps([[("Equalize", ()), ("Emit", (0,))]] * 2, images.shape[2:])
    tensors = (program.opcodes, program.step_offsets, program.values, program.value_offsets)
    table, out = normalization_table((0.5,), (0.2,), 3), torch.empty(1, *images.shape, device=GPU)
    opcheck(torch.ops.dssl_ops.augment.default, ([images], None, *tensors, table, out))


def test_a_faulty_program_is_refused_before_the_launch():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8, device=GPU)
    program = Program.from_steps([[("ResizedCrop", (5, 0, 4, 4, 8, 8, 2, 13)), ("Emit", (0,))]], (8, 8))
    with pytest.raises(RuntimeError, match="augment: step 0 of image 0, ResizedCrop"):
        augment(images, program)


def test_it_runs_on_the_current_stream_and_programs_outlive_the_call():
    """Many calls are queued behind a busy stream: none may find the programs of a later one in its memory."""
    images = batches()[-2]
    there, stream = images.to(GPU), torch.cuda.Stream()
    DIRECTED(there, seed=0)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        got = [torch.stack(list(DIRECTED(there, seed=seed))) for seed in range(20)]
    stream.synchronize()
    for seed, views in enumerate(got):
        assert torch.equal(views.cpu(), torch.stack(list(DIRECTED(images, seed=seed)))), seed


def test_no_host_synchronisation():
    images = batches()[-2].to(GPU)
    DIRECTED(images, seed=0)
    with never_waiting():
        DIRECTED(images, seed=1)


@pytest.mark.parametrize("normalize", [None, T.Normalize((0.5,), (0.2,), torch.bfloat16)], ids=["uint8", "bfloat16"])
def test_a_cuda_graph_replays_its_programs_on_new_images(normalize):
    """Its programs and its table are its own: calls between capture and replay change neither."""
    images = batches()[-2]
    there, maker = images.to(GPU), T.DirectedViews(T.StandardView.byol(32), HEAVY, normalize)
    maker(there, seed=0)  # loads the kernels outside the capture
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = maker(there, seed=1)
    fresh = images.flip(0)
    there.copy_(fresh)
    for _ in range(2):
        maker(there, seed=2)
        graph.replay()
        assert torch.equal(torch.stack(list(captured)).cpu(), torch.stack(list(maker(fresh, seed=1))))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_the_device_of_the_images_counts_not_the_current_one():
    images = batches()[-2]
    assert same(DIRECTED, images, images.to("cuda:1"))
