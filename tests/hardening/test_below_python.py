"""The compiled checks that Python's come before: each is all that stands between a wrong tensor and memory."""

import pytest
import torch
from checks import needs_native

from dssl_ops.program import OPCODES

pytestmark = needs_native
F, D, L, W, U = torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8


def zeros(*shape, dtype=F):
    return torch.zeros(shape, dtype=dtype)


def tensor(values, dtype=L):
    return torch.tensor(values, dtype=dtype)


def step(name, *values):
    """The first image runs this step before it is shown, the other one is shown as it is."""
    count = len(values)
    return dict(
        opcodes=tensor([OPCODES[name], 24, 24], W),
        step_offsets=tensor([0, 2, 3]),
        values=tensor([*values, 0, 0], D),
        value_offsets=tensor([0, count, count + 1, count + 2]),
    )


# The arguments of one call that each op takes, by name.
GOOD = {
    "augment": dict(
        images=[zeros(2, 3, 8, 8, dtype=U)], sizes=None, opcodes=tensor([24, 24], W), step_offsets=tensor([0, 1, 2]),
        values=zeros(2, dtype=D), value_offsets=tensor([0, 1, 2]), table=None, out=zeros(1, 2, 3, 8, 8, dtype=U)),
    "augment_drawn": dict(
        images=[zeros(2, 3, 8, 8, dtype=U)], sizes=None, instructions=tensor([0, 7, 0, 0, 24, 1, 0], D),
        sample_ids=tensor([0, 1]), seed=0, epoch=0, table=None, out=zeros(1, 2, 3, 8, 8, dtype=U)),
    "augment_sample": dict(instructions=tensor([0, 7, 0, 0, 24, 1, 0], D), sample_ids=tensor([0, 1]),
                           sizes=tensor([[8, 8], [8, 8]]), seed=0, epoch=0),
    "jigsaw": dict(images=zeros(2, 3, 8, 8), grid=2, permutation=tensor([[0, 1, 2, 3]] * 2)),
    "directional_loss": dict(predictions=[zeros(4, 8)] * 2, targets=[zeros(4, 8)] * 2, edges=[0, 1, 1, 0],
                             edge_weights=[0.5, 0.5], weights=None, reduction=2),
    "directional_loss_backward": dict(predictions=[zeros(4, 8)], targets=[zeros(4, 8)], edges=[0, 0], reduction=2,
                                      coefficients=zeros(4, 4, dtype=D), upstream=zeros(dtype=D)),
    "nt_xent": dict(
        rows=[zeros(4, 8)], columns=[zeros(4, 8)], queue=zeros(5, 8), positive=tensor([0, 1, 2, 3]),
        excluded=tensor([-1] * 4), positives_only=False, temperature=tensor(0.5, D), decoupled=False, reduction=2,
        with_nearest=True, tf32=False),
    "nt_xent_backward": dict(
        rows=[zeros(4, 8)], columns=[zeros(4, 8)], queue=None, positive=tensor([0, 1, 2, 3]), excluded=tensor([-1] * 4),
        positives_only=False, temperature=tensor(0.5, D), decoupled=False, positives=zeros(4, dtype=D),
        negatives=zeros(4, dtype=D), upstream=zeros(dtype=D), reduction=2, with_columns=True, tf32=False),
    "barlow_twins": dict(z_a=zeros(4, 8), z_b=zeros(4, 8), lambd=0.1, scale=1.0, eps=1e-5),
    "barlow_twins_backward": dict(z_a=zeros(4, 3), z_b=zeros(4, 3), matrices=zeros(1024), features=zeros(5, 3, dtype=D),
                                  upstream=zeros(dtype=D), lambd=0.1, scale=1.0),
}  # fmt: skip
BAD = [
    ("augment", dict(images=[zeros(2, 3, 8, 8)]), "images must be uint8"),
    ("augment", dict(images=[zeros(2, 1, 8, 8, dtype=U)]), "the channels of the views, 3"),
    ("augment", dict(images=[zeros(2, 3, 8, 16, dtype=U)[..., ::2]]), "images must be contiguous or channels_last"),
    ("augment", dict(images=[zeros(3, 3, 8, 8, dtype=U)]), "out must be for 3 images; got 2"),
    ("augment", dict(images=[zeros(300, dtype=U)], sizes=tensor([[8, 8]] * 2)), "must be in 1..32768 and fit"),
    ("augment", dict(images=[zeros(385, dtype=U)], sizes=tensor([[8, 8]] * 2)), "use up the buffer; got 1 bytes more"),
    ("augment", dict(images=[zeros(384, dtype=U)], sizes=tensor([[-8, -8], [8, 8]])), "sizes must be in 1..32768"),
    ("augment", dict(images=[zeros(384, dtype=U)], sizes=tensor([8, 8])), "sizes must have 2 dimensions"),
    ("augment", dict(images=[zeros(384, dtype=U)] * 2, sizes=tensor([[8, 8]] * 2)), "sizes go with one packed buffer"),
    ("augment", dict(out=zeros(1, 2, 3, 8, 16, dtype=U)[..., ::2]), "every view of out must be contiguous"),
    ("augment", dict(out=zeros(65, 2, 3, 8, 8, dtype=U)), "at most 64 views"),
    ("augment", dict(out=zeros(1, 2, 3, 8, 8)), "out must be uint8 where there is no table"),
    ("augment", dict(out=zeros(1, 2, 3, 8, 9, dtype=U)), "step 0 of image 0, Emit"),
    ("augment", dict(opcodes=tensor([24, 25], W)), "step 0 of image 1, an unknown opcode"),
    ("augment", dict(opcodes=tensor([24, -1], W)), "step 0 of image 1, an unknown opcode"),
    ("augment", dict(opcodes=tensor([24, 24])), "opcodes has the wrong dtype"),
    ("augment", dict(step_offsets=tensor([0, 1])), "step_offsets must cover the opcodes"),
    ("augment", dict(step_offsets=tensor([0, 3, 2])), "step_offsets must cover the opcodes"),
    ("augment", dict(step_offsets=tensor([-1, 1, 2])), "step_offsets must cover the opcodes"),
    ("augment", dict(value_offsets=tensor([0, 1, 9])), "value_offsets must cover the values"),
    ("augment", dict(value_offsets=tensor([0, 2, 2])), "step 0 of image 0, Emit"),
    ("augment", dict(values=tensor([0, 1], D)), r"step 0 of image 1, Emit\(1\)"),
    ("augment", dict(values=tensor([0, -1], D)), r"step 0 of image 1, Emit\(-1\)"),
    ("augment", dict(opcodes=tensor([24, 0], W), value_offsets=tensor([0, 2, 2])), "step 0 of image 0, Emit"),
    ("augment", step("ResizedCrop", 0, 5, 4, 4, 8, 8, 2, 13), r"step 0 of image 0, ResizedCrop\(0, 5"),
    ("augment", step("ResizedCrop", 5, 0, 4, 4, 8, 8, 2, 13), r"step 0 of image 0, ResizedCrop\(5, 0"),
    ("augment", step("ResizedCrop", -1, 0, 4, 4, 8, 8, 2, 13), r"step 0 of image 0, ResizedCrop\(-1"),
    ("augment", step("ResizedCrop", 0, 0, 4, 4, 8.5, 8, 2, 13), "step 0 of image 0, ResizedCrop"),
    ("augment", step("ResizedCrop", 0, 0, 4, 4, 32768, 32768, 2, 13), "no image of more than 16777216 pixels"),
    ("augment", step("ResizedCrop", 0, 0, 4, 4, 4, 4, 2, 13), r"step 1 of image 0, Emit\(0\)"),
    ("augment", step("Emit", 0), r"step 1 of image 0, Emit\(0\)"),
    ("augment", step("Posterize", 9), "step 0 of image 0, Posterize"),
    ("augment", step("Hue", 0.6), "step 0 of image 0, Hue"),
    ("augment", step("GaussianBlur", 1001), "step 0 of image 0, GaussianBlur"),
    ("augment", step("Rotate", 3, 1), "step 0 of image 0, Rotate"),
    ("augment", step("ShearX", 1e9, 0), "step 0 of image 0, ShearX"),
    ("augment", step("Brightness", float("nan")), "step 0 of image 0, Brightness"),
    ("augment", step("Jigsaw", 0, 1, 2, 4), "step 0 of image 0, Jigsaw"),
    ("augment", step("Jigsaw", 0, 1, 2), "step 0 of image 0, Jigsaw"),
    ("augment", step("Jigsaw", *range(81)), "step 0 of image 0, Jigsaw"),
    ("augment", dict(table=zeros(3, 255), out=zeros(1, 2, 3, 8, 8)), r"table must be \(C, 256\)"),
    ("augment", dict(table=zeros(3, 256, dtype=D), out=zeros(1, 2, 3, 8, 8)), "table has the wrong dtype"),
    ("augment_drawn", dict(sample_ids=tensor([0])), "sample_ids must be for 2 images; got 1"),
    ("augment_drawn", dict(instructions=tensor([0, 8, 0, 0, 24, 1, 0], D)), "instructions are malformed"),
    ("augment_drawn", dict(instructions=tensor([0, 7, 256, 0, 24, 1, 0], D)), "instructions are malformed"),
    ("augment_drawn", dict(instructions=tensor([6, 7, 0, 0, 9, 1, 0], D)), "instructions are malformed"),
    ("augment_drawn", dict(epoch=-1), "epoch must be in 0..2.32-1; got -1"),
    ("augment_sample", dict(sizes=tensor([[8, 8], [8, 0]])), "sizes must be in 1..32768; got 0"),
    ("augment_sample", dict(sizes=tensor([[8, 8, 8]] * 2)), r"sizes must be \(B, 2\)"),
    ("jigsaw", dict(grid=0), "grid must be in 1..8; got 0"),
    ("jigsaw", dict(grid=9, permutation=torch.arange(81).repeat(2, 1)), "grid must be in 1..8; got 9"),
    ("jigsaw", dict(permutation=tensor([[0, 1, 2, 3]])), r"permutation must be \(B, grid \* grid\)"),
    ("jigsaw", dict(permutation=tensor([[0, 1, 2, 3], [0, 1, 2, 4]])), "row 1 of permutation must name each of the 4"),
    ("jigsaw", dict(permutation=tensor([[0, 1, 2, 3], [0, 1, 2, -1]])), "row 1 of permutation must name each"),
    ("jigsaw", dict(permutation=tensor([[0, 1, 2, 3]] * 2, W)), "permutation has the wrong dtype"),
    ("jigsaw", dict(images=zeros(2, 3, 8, 16)[..., ::2]), "images must be contiguous or channels_last"),
    ("directional_loss", dict(edges=[0, 1, 2, 0]), "edge 1 names a view that is not there"),
    ("directional_loss", dict(edges=[0, 1, 1, -1]), "edge 1 names a view that is not there"),
    ("directional_loss", dict(edges=[0, 1, 1]), "edges must be pairs"),
    ("directional_loss", dict(edge_weights=[0.5]), "edges and edge_weights do not match"),
    ("directional_loss", dict(targets=[zeros(4, 8), zeros(3, 8)]), "must have the shape of predictions"),
    ("directional_loss", dict(targets=[zeros(4, 8), zeros(4, 7)]), "must have the shape of predictions"),
    ("directional_loss", dict(targets=[zeros(4, 8), zeros(4, 8, dtype=torch.float16)]), "must share one dtype"),
    ("directional_loss", dict(targets=[zeros(4, 8), zeros(4, 16)[:, ::2]]), "rows of targets must be dense"),
    ("directional_loss", dict(weights=zeros(2, 3, dtype=D)), r"weights must be \(E,\) or \(E, B\)"),
    ("directional_loss", dict(weights=zeros(1, dtype=D)), r"weights must be \(E,\) or \(E, B\)"),
    ("directional_loss", dict(reduction=3), "reduction must be 0, 1 or 2; got 3"),
    ("directional_loss", dict(predictions=[], edges=[], edge_weights=[]), "predictions must not be empty"),
    ("directional_loss_backward", dict(coefficients=zeros(4, 3, dtype=D)), r"coefficients must be \(B, 4\)"),
    ("directional_loss_backward", dict(coefficients=zeros(3, 4, dtype=D)), r"coefficients must be \(B, 4\)"),
    ("directional_loss_backward", dict(upstream=zeros(3, dtype=D)), r"upstream must be a scalar or \(B,\)"),
    ("nt_xent", dict(positive=tensor([0, 1, 2, 9])), "positive names a column that is not there"),
    ("nt_xent", dict(positive=tensor([0, 1, 2, -2])), "positive names a column that is not there"),
    ("nt_xent", dict(positive=tensor([0, 1, 2])), "positive must have one entry a row"),
    ("nt_xent", dict(excluded=tensor([0, 1, 2, 9])), "excluded names a column that is not there"),
    ("nt_xent", dict(queue=zeros(5, 7)), r"every input must be \(rows, D\)"),
    ("nt_xent", dict(queue=zeros(5, 8, dtype=D)), "inputs must share one dtype"),
    ("nt_xent", dict(queue=zeros(5, 16)[:, ::2]), "rows must be dense"),
    ("nt_xent", dict(temperature=tensor(0.0, D)), r"temperature must be in \[1e-8, 1e8\]"),
    ("nt_xent", dict(rows=[zeros(3, 8)], columns=[], queue=None, positive=None), "rows without columns must be pairs"),
    ("nt_xent_backward", dict(positives=zeros(3, dtype=D)), "what forward kept must have one entry a row"),
    ("nt_xent_backward", dict(upstream=zeros(3, dtype=D)), r"upstream must be \(\) or \(rows,\)"),
    ("barlow_twins", dict(z_b=zeros(4, 7)), r"views must be \(N, D\) of one dtype"),
    ("barlow_twins", dict(z_a=zeros(0, 8), z_b=zeros(0, 8)), "views must not be empty"),
    ("barlow_twins", dict(z_b=zeros(4, 16)[:, ::2]), "rows must be dense"),
    ("barlow_twins_backward", dict(matrices=zeros(1024 - 1)), "matrices have the wrong size"),
    ("barlow_twins_backward", dict(matrices=zeros(1024, dtype=D)), "matrices has the wrong dtype"),
    ("barlow_twins_backward", dict(features=zeros(4, 3, dtype=D)), r"features must be \(5, D\)"),
    ("barlow_twins_backward", dict(features=zeros(5, 2, dtype=D)), r"features must be \(5, D\)"),
]  # fmt: skip


@pytest.mark.parametrize("op", GOOD)
def test_what_is_changed_below_was_good_before(op):
    getattr(torch.ops.dssl_ops, op)(**GOOD[op])


@pytest.mark.parametrize("op, change, message", BAD, ids=[f"{op}-{message[:40]}" for op, _, message in BAD])
def test_a_wrong_tensor_is_refused(op, change, message):
    assert set(change) <= set(GOOD[op])
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.dssl_ops, op)(**(GOOD[op] | change))
