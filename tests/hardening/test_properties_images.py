"""Images on any input: Pillow's bits, or an error that names the op. Small images, so that every example is quick."""

import itertools

import numpy as np
import pytest
import torch
from checks import needs_native
from drawn import DOCUMENTED, MODES, WRONG, modes, reals, refused, seeds
from hypothesis import assume, given
from hypothesis import strategies as st

from dssl_ops import Program, RaggedImages, augment, augment_reference, image_op, jigsaw, jigsaw_reference
from dssl_ops import transforms as T
from dssl_ops.augment import normalization_table
from dssl_ops.program import AFFINE_OPS, NAMES, VALUE_NAMES

pytestmark = needs_native
sides = st.one_of(st.integers(1, 9), st.sampled_from((15, 16, 17, 32, 33, 40)))
colours, counts = st.sampled_from((1, 3)), st.integers(0, 3)
steps = [name for name in NAMES if name not in ("Source", "Emit")]
NATIVE = (*DOCUMENTED, RuntimeError)


@st.composite
def batches(draw, channels=colours, count=counts):
    """uint8 (B, C, H, W) in any layout."""
    shape = [draw(count), draw(channels), draw(sides), draw(sides)]
    values = torch.from_numpy(np.random.default_rng(draw(seeds)).integers(0, 256, shape, dtype=np.uint8))
    match draw(st.sampled_from(("dense", "dense", "channels_last", "columns", "flipped", "one byte", "expanded"))):
        case "channels_last":
            return values.contiguous(memory_format=torch.channels_last)
        case "columns":
            return torch.stack([values, values], dim=4).flatten(3)[..., ::2]
        case "flipped":
            return values.transpose(2, 3).contiguous().transpose(2, 3)
        case "one byte":
            return values.fill_(7)
        case "expanded":
            return values[:1].expand(shape) if shape[0] else values
    return values


@st.composite
def sources(draw):
    """Images in one of their forms: a batch, a list of any sizes, or RaggedImages."""
    channels = st.just(draw(colours))
    form = draw(st.sampled_from(("batch", "list", "ragged")))
    if form == "batch":
        return draw(batches(channels=channels))
    images = [draw(batches(channels=channels, count=st.just(1)))[0] for _ in range(draw(st.integers(0, 3)))]
    return images if form == "list" else RaggedImages.from_list(images)


@st.composite
def values_of(draw, name, height, width):
    """Values of a step: mostly those that it takes, now and then any."""
    if name == "Jigsaw":
        grid = draw(st.integers(1, 5))
        return draw(
            st.one_of(st.permutations(range(grid * grid)), st.just(range(grid * grid)), st.lists(reals, max_size=5))
        )
    if name == "ResizedCrop":
        box = [
            draw(st.integers(0, 3)),
            draw(st.integers(0, 3)),
            draw(st.integers(0, height)),
            draw(st.integers(0, width)),
        ]
        return [
            *box,
            draw(sides),
            draw(sides),
            draw(st.sampled_from((2, 2, 3, 0))),
            draw(st.sampled_from((12, 13, 13, 14))),
        ]
    count = len(VALUE_NAMES[name])
    ordinary = st.floats(-1, 40) if name not in ("Posterize", "GaussianBlur") else st.integers(0, 9)
    values = [draw(st.one_of(ordinary, ordinary, st.floats(), st.integers(-300, 300))) for _ in range(count)]
    return [*values[:1], draw(st.sampled_from((0, 2, 3, 3, 1)))] if name in AFFINE_OPS else values


def compare(run, truth):
    """The same bits, or both refuse, the compiled one with a word of its own."""
    try:
        expected = truth()
    except (*DOCUMENTED, OverflowError, MemoryError):
        with pytest.raises(NATIVE):
            run()
        return
    assert torch.equal(run(), expected)


@given(source=sources(), data=st.data(), mode=modes, channels_last=st.booleans(), seed=seeds)
def test_any_program_gives_pillows_bits_or_is_refused(source, data, mode, channels_last, seed):
    images = list(source)
    size = tuple(images[0].shape[1:]) if images else (8, 8)
    programs, views = [], data.draw(st.integers(1, 2))
    for image in images:
        names = data.draw(st.lists(st.sampled_from([*steps, "Source"]), max_size=4))
        names += [] if tuple(image.shape[1:]) == size else ["ResizedCrop"]
        program = [(name, data.draw(values_of(name, *image.shape[1:]))) for name in names]
        programs.append([*program, *(("Emit", (view,)) for view in data.draw(st.permutations(range(views))))])
    try:
        made = Program.from_steps(programs, size)
    except (*DOCUMENTED, OverflowError):
        return
    assert Program.from_json(made.to_json()).to_json() == made.to_json()
    form = torch.channels_last if channels_last else torch.contiguous_format
    table = (
        normalization_table((0.4,), (0.3,), source.channels, torch.bfloat16)
        if seed % 3 == 0 and images and hasattr(source, "channels")
        else None
    )
    with MODES[mode]():
        compare(
            lambda: augment(source, made, memory_format=form, table=table),
            lambda: augment_reference(source, made, table=table),
        )


@given(images=batches(), name=st.sampled_from([*steps, "Emit", "Blur"]), data=st.data())
def test_image_op_gives_pillows_bits_or_names_itself(images, name, data):
    height, width = images.shape[2:]
    known = name in VALUE_NAMES
    values = data.draw(
        st.one_of(values_of(name, height, width), reals, st.lists(reals, max_size=4)) if known else reals
    )
    size = (data.draw(sides), data.draw(sides)) if name == "ResizedCrop" else None
    filters = st.sampled_from((None, "nearest", "bilinear", "bicubic", "box"))
    interpolation = data.draw(filters) if name in (*AFFINE_OPS, "ResizedCrop") else None
    values = values[:4] if name == "ResizedCrop" and isinstance(values, list) else values
    values = values[:1] if name in AFFINE_OPS and isinstance(values, list) else values
    values = tuple(values) if isinstance(values, range) else values
    if refused(lambda: image_op(images, name, values, size, interpolation), "image_op"):
        return
    result = image_op(images, name, values, size, interpolation)
    assert result.shape == (*images.shape[:2], *(size or images.shape[2:]))
    assert torch.equal(result, image_op(images.contiguous(), name, values, size, interpolation))


@given(
    shape=st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 20), st.integers(0, 20)),
    dtype=st.sampled_from((torch.uint8, torch.float32, torch.float64, torch.bfloat16, *WRONG)),
    grid=st.one_of(st.integers(-1, 6), reals),
    seed=seeds,
    mode=modes,
    layout=st.sampled_from(("dense", "last", "strided")),
)
def test_jigsaw_moves_tiles_or_names_itself(shape, dtype, grid, seed, mode, layout):
    images = torch.randint(0, 2, (*shape[:3], 2 * shape[3])).to(dtype)
    images = images[..., ::2] if layout == "strided" else images[..., : shape[3]].contiguous()
    images = images.contiguous(memory_format=torch.channels_last) if layout == "last" else images
    tiles = grid * grid if isinstance(grid, int) and 0 <= grid < 9 else 4
    draws = torch.Generator().manual_seed(seed)
    permutation = torch.stack(
        [torch.randperm(tiles, generator=draws) for _ in range(shape[0])] or [torch.zeros(tiles)]
    ).long()[: shape[0]]
    permutation = torch.arange(tiles).expand(shape[0], tiles) if seed % 3 == 0 else permutation
    with MODES[mode]():
        if refused(lambda: jigsaw(images, grid, permutation), "jigsaw", RuntimeError):
            return
        assert torch.equal(
            jigsaw(images, grid, permutation).float(), jigsaw_reference(images, grid, permutation).float()
        )


crops = st.builds(
    T.RandomResizedCrop,
    sides,
    st.sampled_from(((1e-9, 1.0), (0.1, 1.0), (1.0, 9e8))),
    st.sampled_from(((0.75, 1.34), (1e-9, 1e-9), (1e-9, 9e8), (5.0, 5.0))),
)
leaves = st.one_of(
    crops,
    st.builds(T.RandAugment, st.integers(1, 4), st.integers(0, 30), st.sampled_from(("author16", "ra14"))),
    st.builds(T.UniformAugment, st.integers(1, 3)),
    st.builds(T.Jigsaw, st.integers(1, 5), st.sampled_from((0.0, 0.5, 1.0))),
    st.builds(T.ColorJitter, *[st.sampled_from((0.0, 0.4, 3.0))] * 3, st.sampled_from((0.0, 0.1, 0.5))),
    st.builds(T.GaussianBlur, st.sampled_from(((0.0, 0.0), (0.1, 2.0), (40.0, 1000.0)))),
    st.builds(T.Solarize, st.sampled_from((-1, 0, 128.5, 300, 9.9e8))),
    st.sampled_from((T.HorizontalFlip(), T.Grayscale(0.5))),
)
makers = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(T.Compose, st.lists(inner, max_size=3)),
        st.builds(T.Choice, st.lists(inner, min_size=1, max_size=3)),
        st.builds(T.RandomApply, st.lists(inner, max_size=2), st.sampled_from((0.0, 0.3, 1.0))),
    ),
    max_leaves=4,
)


@given(
    source=sources(),
    maker=makers,
    seed=st.integers(-(2**63), 2**64 - 1),
    epoch=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_transforms_draw_the_same_whatever_the_form_and_as_their_programs(source, maker, seed, epoch, data):
    images = list(source)
    ids = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(images), max_size=len(images)))
    keys = dict(seed=seed, epoch=epoch, sample_ids=ids)
    heads = ("transforms", "Jigsaw", "Choice", "RandomApply", "RandAugment")
    try:
        views = maker(source, **keys)
    except ValueError as error:
        assert str(error).startswith(heads), error
        return
    program = maker.sample(source, **keys)
    assert torch.equal(views, augment_reference(source, program)[0])
    assert T.policy(repr(maker)) == maker or "StandardView" in repr(maker)
    if images:
        keep = data.draw(st.integers(0, len(images) - 1))
        alone = maker(images[keep], seed=seed, epoch=epoch, sample_ids=ids[keep])
        assert torch.equal(alone, views[keep]) or views.shape[-2:] != alone.shape[-2:]


@given(
    images=batches(count=st.integers(1, 2)), maker=makers, seed=seeds, offset=st.integers(-40, 40), last=st.booleans()
)
def test_out_takes_the_views_or_refuses_and_never_reads_what_it_wrote(images, maker, seed, offset, last):
    try:
        expected = T.MultiView(maker)(images, seed=seed)
    except ValueError:
        assume(False)
    # One buffer holds images and views, next to each other or one over the other.
    count = images.numel()
    start = max(0, 50 + count + offset)
    buffer = torch.full((50 + count + 2 * expected[0].numel() + 100,), 9, dtype=torch.uint8)
    source = buffer[50 : 50 + count].view(images.shape).copy_(images)
    before, shape = buffer.clone(), (2, *expected[0].shape)
    out = buffer[start : start + 2 * expected[0].numel()]
    out = out.view(2, shape[1], *shape[3:], shape[2]).movedim(-1, 2) if last else out.view(shape)
    overlap = start < 50 + count and start + out.numel() > 50
    if refused(lambda: T.MultiView(maker)(source, seed=seed, out=out), "transforms"):
        assert overlap and torch.equal(source, images)
        return
    assert not overlap and torch.equal(out, torch.stack(expected)) and torch.equal(source, images)
    changed = buffer != before
    assert not changed[:start].any() and not changed[start + out.numel() :].any()


@given(standard=makers, heavy=makers, images=batches(), seed=seeds)
def test_directed_views_are_the_programs_views(standard, heavy, images, seed):
    views = T.DirectedViews(standard, heavy)
    try:
        four = views(images, seed=seed)
    except ValueError as error:
        assert str(error).split(":")[0] in ("transforms", "Jigsaw", "Choice", "RandomApply", "RandAugment"), error
        return
    assert torch.equal(torch.stack(four), augment_reference(images, views.sample(images, seed=seed)))


@given(
    data=st.one_of(st.binary(max_size=80), st.none()),
    sizes=st.lists(st.tuples(*[st.integers(-1, 6)] * 2), max_size=4),
    channels=st.sampled_from((1, 3, 0, 2, True, 1.0, "3")),
    cut=st.integers(-2, 2),
)
def test_ragged_images_fit_their_buffer_or_are_refused(data, sizes, channels, cut):
    wanted = sum(max(0, h * w) for h, w in sizes) * (channels if channels in (1, 3) else 1)
    length = wanted + cut * (cut in (-1, 1)) if data is None else len(data)
    buffer = torch.arange(max(0, int(length))).to(torch.uint8)
    if refused(lambda: RaggedImages(buffer, torch.tensor(sizes).reshape(-1, 2).long(), channels), "RaggedImages"):
        return
    ragged = RaggedImages(buffer, torch.tensor(sizes).reshape(-1, 2).long(), channels)
    assert torch.equal(torch.cat([image.flatten() for image in ragged] or [buffer]), buffer)
    assert [image.shape for image in ragged] == [(channels, *size) for size in sizes]
    if sizes:
        same = itertools.repeat([])
        program = Program.from_steps([p for p, _ in zip(same, sizes)], sizes[0])
        compare(lambda: augment(ragged, program), lambda: augment_reference(ragged, program))
