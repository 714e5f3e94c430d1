"""What fuzzing and the property tests found, each with an input that showed it."""

import math

import pytest
import torch
from checks import needs_native

from dssl_ops import (
    KeyQueue,
    Program,
    RaggedImages,
    ViewGraph,
    augment,
    augment_reference,
    barlow_twins,
    directional_loss,
    image_op,
    info_nce,
)
from dssl_ops import transforms as T
from dssl_ops.augment_sample import RANDOM_OPS, RANDOM_RESIZED_CROP, augment_sample

pytestmark = needs_native
PIXEL = torch.zeros(1, 3, 1, 1, dtype=torch.uint8)
ROWS = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("side, grid", [(2, 4), (8, 9), (1, 64)])
def test_a_jigsaw_of_more_tiles_than_pixels_wrote_before_its_memory(side, grid):
    images = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    program = Program.from_steps([[("Jigsaw", range(grid * grid))]], (side, side))
    for run in (augment, augment_reference):
        with pytest.raises((RuntimeError, ValueError), match=r"augment: .*Jigsaw"):
            run(images, program)


def drawn(*words):
    instructions = torch.tensor([[*words]], dtype=torch.float64).flatten()
    return augment_sample(instructions, torch.zeros(1, dtype=torch.int64), torch.tensor([[8, 8]]), 0, 0)


CROP = [RANDOM_RESIZED_CROP, 12, 0, 0, 0.5, 1.0, 0.75, 1.25, 4, 4, 2, 13]
OPS = [RANDOM_OPS, 13, 0, 0, 1, 1.0, 0, 3, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("at, value", [(4, math.inf), (5, math.nan), (5, 1e300), (6, 1e-300), (7, 1e300), (6, 0)])
def test_a_crop_of_no_size_was_cast_to_an_integer(at, value):
    assert len(drawn(*CROP)[0]) == 1
    with pytest.raises(RuntimeError, match="augment_sample: instructions are malformed"):
        drawn(*CROP[:at], value, *CROP[at + 1 :])


@pytest.mark.parametrize("at, value", [(7, 1e300), (7, -1), (7, math.nan), (12, 5), (12, 1e300)])
def test_an_unknown_operation_was_cast_to_an_opcode(at, value):
    assert len(drawn(*OPS)[0]) == 1
    with pytest.raises(RuntimeError, match="augment_sample: instructions are malformed"):
        drawn(*OPS[:at], value, *OPS[at + 1 :])


def test_a_ratio_that_gives_no_size_is_refused():
    with pytest.raises(ValueError, match=r"RandomResizedCrop: ratio must be at least 1e-09; got \(1e-300, 1\)"):
        T.RandomResizedCrop(8, ratio=(1e-300, 1))


def test_a_graph_without_edges_had_no_backward():
    prediction = ROWS.clone().requires_grad_()
    directional_loss([prediction], [ROWS], ViewGraph(())).backward()
    assert (prediction.grad == 0).all()


def test_an_empty_batch_of_strided_rows_was_refused():
    empty = torch.zeros(0, 8)[:, ::2]
    assert directional_loss([empty, empty], [empty, empty], ViewGraph.symmetric()) == 0
    assert info_nce(empty, empty, empty) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", [2, slice(None)])
@pytest.mark.parametrize("size", [5, 5000])  # few products are summed in double, many in the type's own elements
def test_a_negative_that_is_not_finite_was_taken_for_none(dtype, bad, at, size):
    queue = torch.randn(size, 8).to(dtype)
    queue[3, at] = bad
    rows = ROWS.to(dtype)
    assert torch.isnan(info_nce(rows, rows, queue, reduction="none")).all()
    queue[3] = 0
    assert torch.isfinite(info_nce(rows, rows, queue, reduction="none")).all()


def test_subnormal_rows_had_an_infinite_scale():
    tiny = torch.full((2, 3), 1e-310, dtype=torch.float64)
    like = torch.ones(2, 3, dtype=torch.float64)
    assert directional_loss([tiny], [like], ViewGraph([(0, 0, 1.0)])).item() == pytest.approx(-1)
    expected = info_nce(like, like, -like, reduction="none")
    assert torch.allclose(info_nce(tiny, like, -like, reduction="none"), expected)


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: KeyQueue(4, 2, dtype=torch.int64), ValueError, "KeyQueue: dtype must be float32, .*; got torch.int64"),
        (
            lambda: KeyQueue(2.5, 2),
            ValueError,
            "KeyQueue: size and width must be whole numbers in 1..2.31-1; got 2.5 and 2",
        ),
        (lambda: KeyQueue(4, 2).enqueue([[1.0, 2.0]]), TypeError, "KeyQueue.enqueue: inputs must be dense tensors"),
        (lambda: image_op(PIXEL, "Solarize", 1j), ValueError, "image_op: values of Solarize must be numbers; got 1j"),
        (lambda: KeyQueue(True, 2), ValueError, "KeyQueue: size and width must be whole .* got True and 2"),
        (lambda: KeyQueue(10**30, 2), ValueError, "KeyQueue: size and width must be whole numbers in 1..2.31-1"),
        (
            lambda: RaggedImages(PIXEL[0, 0, 0], torch.ones(1, 2, dtype=torch.int64), True),
            ValueError,
            "RaggedImages: channels must be 1 or 3; got True",
        ),
        (
            lambda: barlow_twins(ROWS, ROWS, "a"),
            ValueError,
            "barlow_twins: lambd, .* must be finite numbers .* got 'a'",
        ),
        (lambda: barlow_twins(ROWS, ROWS, torch.tensor(1.0)), ValueError, r"barlow_twins: lambd, .* got tensor\(1.\)"),
        (lambda: barlow_twins(ROWS, ROWS, 10**400), ValueError, "barlow_twins: lambd, .* must be finite numbers"),
    ],
)
def test_what_torch_refused_in_its_own_words_is_refused_in_ours(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_queue_took_its_own_rows_for_others():
    queue = KeyQueue(5, 3)
    expected = [*queue.keys[1:4].clone(), *queue.keys[3:].clone()]
    queue.enqueue(queue.keys[1:4])
    assert torch.equal(queue.keys, torch.stack(expected))
