"""Modes of torch that an op sees from inside: fake and meta tensors, forward-mode differentiation, compilation."""

import pytest
import torch
from checks import needs_native
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad

from dssl_ops import ViewGraph, barlow_twins, directional_loss, info_nce, jigsaw, nt_xent
from dssl_ops import transforms as T

pytestmark = [needs_native, pytest.mark.filterwarnings("default:.*torch.jit.script:FutureWarning")]  # torch's own jvp
IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
SYMMETRIC, OWN = ViewGraph.symmetric(), torch.arange(4)[None]
OPS = {
    "directional_loss": (lambda x: directional_loss([x, x], [x, x], SYMMETRIC), (4, 8)),
    "nt_xent": (lambda x: nt_xent(x, x.detach()), (4, 8)),
    "info_nce": (lambda x: info_nce(x, x.detach(), x.detach()), (4, 8)),
    "barlow_twins": (lambda x: barlow_twins(x, x.detach()), (4, 8)),
    "jigsaw": (lambda x: jigsaw(x, 2, OWN.to(x.device)), (1, 3, 4, 4)),
}


@pytest.mark.parametrize("name", OPS)
def test_forward_mode_is_refused_and_not_answered_with_zero(name):
    op, shape = OPS[name]
    x = torch.randn(shape)
    message = f"{name.replace('info_nce', 'nt_xent')}: forward-mode differentiation is not supported"
    with pytest.raises(NotImplementedError, match=message):
        torch.func.jvp(op, (x,), (x,))
    with forward_ad.dual_level():
        with pytest.raises(NotImplementedError, match=message):
            op(forward_ad.make_dual(x, torch.ones_like(x)))
        assert torch.equal(op(x), op(x))  # without a tangent nothing is lost


def test_forward_mode_sees_a_temperature():
    x = torch.randn(4, 8)
    with pytest.raises(NotImplementedError, match="nt_xent: forward-mode"):
        torch.func.jvp(lambda t: nt_xent(x, x, t), (torch.tensor(0.5),), (torch.tensor(1.0),))


@pytest.mark.parametrize("name", OPS)
def test_meta_and_fake_tensors_give_the_shape_and_dtype_of_the_result(name):
    op, shape = OPS[name]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.randn(shape).to(dtype)
        expected = op(x)
        meta = op(x.to("meta"))
        assert meta.device.type == "meta" and (meta.shape, meta.dtype) == (expected.shape, expected.dtype)
        if name != "jigsaw":
            with FakeTensorMode() as mode:
                fake = op(mode.from_tensor(x))
            assert (fake.shape, fake.dtype) == (expected.shape, expected.dtype)


@pytest.mark.parametrize("normalize", [None, T.Normalize(0.5, 0.25)])
def test_a_transform_first_seen_by_fake_tensors_still_works(normalize):
    view = T.StandardView(
        7, scale=(0.21, 0.9 if normalize else 0.8)
    )  # used nowhere else: listed here for the first time
    maker = view if normalize is None else T.Compose((view, normalize))
    with FakeTensorMode():
        fake = maker(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), seed=0)
        assert fake.shape == (2, 3, 7, 7)
    first = maker(IMAGES, seed=0)
    assert type(first) is torch.Tensor and torch.equal(first, maker(IMAGES, seed=0))
    with FakeTensorMode():  # and after real ones it still works under the mode
        assert maker(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), seed=0).dtype == first.dtype


@pytest.mark.filterwarnings("default::UserWarning")  # dynamo warns of caches that it looks into after the break
def test_compiled_code_breaks_at_a_transform_or_says_that_it_must():
    flip = T.HorizontalFlip(1.0)
    images = torch.arange(2 * 3 * 8 * 8).remainder(256).to(torch.uint8).view(2, 3, 8, 8)
    with pytest.raises(RuntimeError, match="drawn and checked outside of compiled code"):
        torch.compile(lambda x: flip(x, seed=0), fullgraph=True, backend="eager")(images)
    broken = torch.compile(lambda x: flip(x + 1, seed=0) + 1, backend="eager")
    assert torch.equal(broken(images), (images + 1).flip(3) + 1)
