"""The augmentation engine: policies beside every peer at hand, and each of its steps beside a plain copy.

First ours must equal the reference, bit for bit; the peers draw differently and cannot be compared so. Drawing counts.
Peers with one draw a batch are marked: training needs a draw an image. "copy" writes one uint8 view. DSSL's four views
of 224 pixels start from photographs of differing sizes, decoded before the clock runs.
"""

import itertools
from functools import partial

import numpy as np
import torch

from dssl_ops import augment, augment_reference
from dssl_ops import transforms as T
from dssl_ops.program import OPCODES, Program

from .augment_peers import PEERS
from .authors_recipe import BLUR_FROM, MEAN, STD
from .harness import Case, Peer, Skip, plain
from .pictures import PHOTO, kind, photographs, scenes

BATCH = {32: 512, 224: 64}
ONE_DRAW = " (one draw a batch)"
QUICK = ("rand_augment_jigsaw", "uniform_augment", "standard", "directed")
ROTATION = tuple(np.random.default_rng(0).permutation(16))
NEAREST, BILINEAR, BICUBIC = 0, 2, 3
STEPS = {
    "Identity": (), "AutoContrast": (), "Equalize": (), "Invert": (), "Grayscale": (), "HorizontalFlip": (),
    "Posterize": (1,), "Solarize": (256 / 6,), "SolarizeAdd": (110 / 6,), "Brightness": (0.4,), "Contrast": (0.4,),
    "Color": (0.4,), "Sharpness": (0.4,), "Hue": (0.05,), "Rotate": (5, NEAREST), "Rotate bilinear": (5, BILINEAR),
    "Rotate bicubic": (5, BICUBIC), "ShearX": (0.05, NEAREST), "ShearY": (0.05, NEAREST),
    "TranslateX": (100 / 6, NEAREST), "TranslateY": (100 / 6, NEAREST), "Cutout": (3, 3, 9, 9), "GaussianBlur": (1.0,),
    "Jigsaw": ROTATION,
}  # fmt: skip


def policies(size):
    """By the name of the peers' method: what it is called, ours, the number of views and their bytes a value."""
    standard = T.StandardView.imagenet(size) if size >= BLUR_FROM else T.StandardView.cifar10(size)
    random, heavy = T.RandAugment(2, 5), T.Compose((T.RandAugment(2, 5), T.Jigsaw(4)))
    return {
        "rand_augment": ("RA(2,5)", random, 1, 1),
        "rand_augment_jigsaw": ("RA(2,5)+Jigsaw(4)", heavy, 1, 1),
        "uniform_augment": ("UA", T.UniformAugment(), 1, 1),
        "choice": ("Choice(0.9*RA(2,5), 0.1*Jigsaw(4))", T.Choice((random, T.Jigsaw(4)), (0.9, 0.1)), 1, 1),
        "standard": ("standard view", standard, 1, 1),
        "byol": ("BYOL's two views", T.MultiView(T.StandardView.byol(size), 2), 2, 1),
        "directed": ("DSSL's four views", T.DirectedViews(standard, heavy, T.Normalize(MEAN, STD)), 4, 4),
    }


def require_equal(what, images, program):
    if not torch.equal(augment(images, program).cpu(), augment_reference(images, program)):
        raise SystemExit(f"{what}: ours differs from the reference; nothing is timed")


def ours(transform):
    epochs = itertools.count()  # fresh draws at every call
    return plain(lambda images: transform(images, seed=0, epoch=next(epochs)))


def peer(make, size, method):
    """The build of a peer."""
    made = make(size)
    if (run := getattr(made, method, None)) is None:
        raise Skip(f"no {method}")
    return lambda images: partial(run, made.prepare(images))


def copy(images):
    return images.clone() if torch.is_tensor(images) else [image.clone() for image in images]


def policy_case(size, method, device):
    name, transform, views, wide = policies(size)[method]
    count, shape = BATCH[size], "x".join(map(str, (BATCH[size], 3, size, size)))
    make = partial(one_size, (count, size, size), device)
    if method == "directed" and size >= BLUR_FROM:
        shape, make = f"{size} from {count} {kind()}", partial(many_sizes, count, device)
    peers = {"dssl_ops": Peer(lambda: ours(transform), "dssl_ops", equal=False)}
    for title, make_peer in PEERS.items():
        mark = ONE_DRAW if method in make_peer.one_draw else ""
        build = partial(peer, make_peer, size, method)
        peers[title + mark] = Peer(build, make_peer.package, equal=False, one_core=make_peer.per_image)
    peers["copy"] = Peer(lambda: plain(copy), equal=False)
    return Case(
        "augment", name, shape, "uint8", make, peers, items=count, verify=partial(verify, name, transform, make),
        moved=count * 3 * size * size * (1 + views * wide), on_host=True,
    )  # fmt: skip


def one_size(shape, device):
    return [scenes(*shape).to(device)]


def many_sizes(count, device):
    return [[image.to(device, copy=True) for image in photographs(count)]]


def verify(name, transform, make):
    few = make()[0][:8]
    require_equal(name, few, transform.sample(few, seed=1))


def one_step(name, values, count, size):
    """A program for `count` images: the one step, then Emit."""
    row = torch.tensor([*map(float, values), 0.0], dtype=torch.float64)
    lengths = torch.tensor([0, *[len(values), 1] * count])
    opcodes = torch.tensor([OPCODES[name], OPCODES["Emit"]], dtype=torch.int32).repeat(count)
    return Program(opcodes, torch.arange(count + 1) * 2, row.repeat(count), lengths.cumsum(0), 1, *size)


def step_case(what, name, values, source, size, device):
    count, side = BATCH[size], (size, size)
    program = one_step(name, values, count, side)
    make = partial(one_size, (count, *source), device)
    peers = {"dssl_ops": Peer(lambda: plain(lambda images: augment(images, program)), "dssl_ops", equal=False)}
    peers["copy"] = Peer(lambda: lambda images: images[:, :, :size, :size].contiguous().clone, equal=False)
    return Case(
        "augment", f"step {what}", "x".join(map(str, (count, 3, *source))), "uint8", make, peers, items=count,
        verify=lambda: require_equal(what, make()[0][:8], one_step(name, values, 8, side)),
        moved=count * 3 * 2 * size * size, on_host=True,
    )  # fmt: skip


def step_cases(size, device):
    photo = PHOTO if size >= BLUR_FROM else (size, size)
    crop = (0, 0, photo[0] * 4 // 5, photo[1] * 4 // 5, size, size)
    for name, values in STEPS.items():
        yield step_case(name, name.split()[0], values, (size, size), size, device)
    for name, number in (("bilinear", BILINEAR), ("bicubic", BICUBIC)):
        yield step_case(f"ResizedCrop {name}", "ResizedCrop", (*crop, number, 13), photo, size, device)


def cases(device, full):
    for size in BATCH:
        for method in policies(size) if full else QUICK:
            yield policy_case(size, method, device)
        if full:
            yield from step_cases(size, device)
