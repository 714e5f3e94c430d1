"""Views written into a tensor that is given: same bits, same memory; what cannot take them is refused."""

import pytest
import torch
from augment_cases import batches

from dssl_ops import RaggedImages
from dssl_ops import transforms as T
from dssl_ops.augment import Program, augment, image_op, normalization_table

HEAVY = T.Compose((T.RandAugment(2, 9), T.Jigsaw(4)))
STANDARD = T.StandardView.cifar10((20, 24))
DTYPES = [torch.uint8, torch.float32, torch.bfloat16, torch.float16]


def normalize(dtype):
    return None if dtype == torch.uint8 else T.Normalize(0.5, 0.25, dtype)


def makers(dtype):
    """Transforms, and the leading dimensions of what they make for 44 images."""
    norm = normalize(dtype)
    single = STANDARD if norm is None else T.Compose((STANDARD, norm))
    return [
        (single, (44,)),
        (T.DirectedViews(STANDARD, HEAVY, norm), (4, 44)),
        (T.MultiView(STANDARD, 1, norm), (1, 44)),
    ]


def filled(shape, dtype, channels_last):
    if not channels_last:
        return torch.full(shape, 77, dtype=dtype)
    *lead, channels, height, width = shape
    return torch.full((*lead, height, width, channels), 77, dtype=dtype).movedim(-1, -3)


def stacked(views):
    return views if isinstance(views, torch.Tensor) else torch.stack(list(views))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_views_fill_the_given_tensor_and_share_its_memory(dtype, channels_last):
    for images in batches()[-2:]:
        sources = (
            images,
            list(images),
            RaggedImages.from_list(list(images)),
            images.to(memory_format=torch.channels_last),
        )
        for maker, lead in makers(dtype):
            expected = stacked(maker(images, seed=4))
            for source in sources:
                out = filled((*lead, images.shape[1], 20, 24), dtype, channels_last)
                views = maker(source, seed=4, out=out)
                assert torch.equal(out, expected)
                parts, whole = ([views], [out]) if isinstance(views, torch.Tensor) else (views, out)
                for view, part in zip(parts, whole, strict=True):
                    assert view.data_ptr() == part.data_ptr() and view.stride() == part.stride()
                    assert view.shape == part.shape and view.dtype == dtype


def test_one_image_fills_a_tensor_without_the_batch():
    image = batches()[-2][5]
    for maker, lead in makers(torch.float32):
        out = filled((*lead[:-1], 3, 20, 24), torch.float32, False)
        views = maker(image, seed=4, out=out)
        assert torch.equal(out, stacked(maker(image, seed=4))) and torch.equal(stacked(views), out)


def test_augment_fills_and_returns_the_given_tensor():
    images = batches()[-2]
    program = Program.from_steps([[("Invert", ()), ("Emit", (1,)), ("Equalize", ()), ("Emit", (0,))]] * 44, (48, 40))
    table = normalization_table((0.5,), (0.25,), 3, torch.bfloat16)
    for given in (None, table):
        out = filled((2, 44, 3, 48, 40), torch.uint8 if given is None else given.dtype, True)
        assert augment(images, program, table=given, out=out) is out
        assert torch.equal(out, augment(images, program, table=given))


def test_a_slice_of_a_larger_tensor_takes_its_views_and_nothing_else_changes():
    images = batches()[-2]
    whole = torch.full((46, 3, 20, 24), 77, dtype=torch.uint8)
    STANDARD(images, seed=1, out=whole[1:45])
    assert torch.equal(whole[1:45], STANDARD(images, seed=1)) and (whole[[0, 45]] == 77).all()


def test_shared_memory_takes_views():
    images = batches()[-2]
    out = torch.empty(44, 3, 20, 24, dtype=torch.uint8).share_memory_()
    assert torch.equal(STANDARD(images, seed=1, out=out), STANDARD(images, seed=1))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a CUDA device")
def test_page_locked_memory_takes_views():
    images = batches()[-2]
    out = torch.empty(44, 3, 20, 24, dtype=torch.uint8, pin_memory=True)
    assert torch.equal(STANDARD(images.pin_memory(), seed=1, out=out), STANDARD(images, seed=1)) and out.is_pinned()


def test_without_a_compiler_the_given_tensor_is_filled_too(monkeypatch):
    images = batches()[-2][:4]
    expected = STANDARD(images, seed=1)
    for module in ("instructions", "augment_sample"):
        monkeypatch.setattr(f"dssl_ops.{module}.native", lambda device=None: False)
    out = filled((4, 3, 20, 24), torch.uint8, True)
    assert STANDARD(images, seed=1, out=out).data_ptr() == out.data_ptr() and torch.equal(out, expected)


RGB = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
FLIP, FOUR = T.HorizontalFlip(), T.DirectedViews(T.HorizontalFlip(), T.Jigsaw(2))
SAME = Program.from_steps([[]] * 2, (8, 8))


def new(*shape, dtype=torch.uint8):
    return torch.zeros(shape, dtype=dtype)


ERRORS = [
    (lambda: FLIP(RGB, seed=0, out=new(2, 3, 8, 9)), r"transforms: out must be \(2, 3, 8, 8\); got \(2, 3, 8, 9\)"),
    (lambda: FLIP(RGB[0], seed=0, out=new(1, 3, 8, 8)), r"transforms: out must be \(3, 8, 8\); got \(1, 3, 8, 8\)"),
    (lambda: FLIP(RGB, seed=0, out=[1]), r"transforms: out must be \(2, 3, 8, 8\); got list"),
    (lambda: FOUR(RGB, seed=0, out=new(2, 3, 8, 8)), r"transforms: out must be \(4, 2, 3, 8, 8\); got \(2, 3, 8, 8\)"),
    (lambda: FOUR(RGB, seed=0, out=(RGB,) * 4), r"transforms: out must be \(4, 2, 3, 8, 8\); got tuple"),
    (
        lambda: FLIP(RGB, seed=0, out=new(2, 3, 8, 8, dtype=torch.float32)),
        r"transforms: out must be torch.uint8 .*on the CPU; got torch.float32",
    ),
    (lambda: FLIP(RGB, seed=0, out=new(2, 3, 8, 8).to("meta")), r"out must be .* on the CPU; got .* on meta"),
    (lambda: FLIP(RGB, seed=0, out=new(2, 3, 8, 16)[..., ::2]), r"every view of out must be contiguous or chan"),
    (lambda: FLIP(RGB, seed=0, out=new(1, 3, 8, 8).expand(2, 3, 8, 8)), r"every view of out must be contiguous"),
    (lambda: FLIP(RGB, seed=0, out=new(3, 2, 8, 8).transpose(0, 1)), r"every view of out must be contiguous"),
    (
        lambda: FLIP(RGB, seed=0, out=new(2, 3, 8, 8), memory_format=torch.channels_last),
        r"transforms: out says its own memory format; got memory_format torch.channels_last besides",
    ),
    (lambda: FLIP(RGB, seed=0, out=RGB), r"transforms: out must not share memory with the images"),
    (lambda: FLIP([RGB[0], RGB[1]], seed=0, out=RGB), r"transforms: out must not share memory with the images"),
    (lambda: augment(RGB, SAME, out=RGB[None]), r"augment: out must not share memory with the images"),
    (lambda: augment(RGB, SAME, out=RGB), r"augment: out must be .*\(1, 2, 3, 8, 8\).*; got .*\(2, 3, 8, 8\)"),
    (
        lambda: T.Compose((FLIP, T.Normalize(0.5, 0.5)))(
            RGB, seed=0, out=new(2, 3, 8, 8, dtype=torch.float32).requires_grad_()
        ),
        r"transforms: out must not require a gradient",
    ),
]  # fmt: skip


@pytest.mark.parametrize("bad, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_what_cannot_take_the_views_is_refused_in_one_line(bad, message):
    with pytest.raises(ValueError, match=message) as caught:
        bad()
    assert len(str(caught.value).splitlines()) == 1


def test_backward_notices_that_what_it_kept_was_written_over():
    images, view = batches()[-1], T.Compose((STANDARD, T.Normalize(0.5, 0.25)))
    out = view(images, seed=0)
    weight = torch.ones_like(out).requires_grad_()
    loss = (weight * out).sum()
    view(images, seed=1, out=out)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    with torch.inference_mode():
        assert torch.equal(view(images, seed=1, out=torch.zeros_like(out)), out)


def test_parts_of_one_tensor_may_be_source_and_result():
    both = torch.cat([batches()[-2], batches()[-2] * 0])
    T.HorizontalFlip(1.0)(both[:44], seed=0, out=both[44:])
    assert torch.equal(both[44:], image_op(batches()[-2], "HorizontalFlip"))
    with pytest.raises(ValueError, match="must not share memory"):
        T.HorizontalFlip(1.0)(both[:44], seed=0, out=both[43:87])
