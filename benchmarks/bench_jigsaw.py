"""JigSaw with a 4 x 4 grid, a permutation per image: ours against slicing tile by tile, one gather and a plain copy."""

from functools import partial

import torch

from dssl_ops import jigsaw, jigsaw_reference

from .harness import Case, Peer, loss

BATCH = {32: 512, 224: 128}


def ours(images, permutation):
    return jigsaw(images, 4, permutation)


def slicing(images, permutation):
    return jigsaw_reference(images, 4, permutation)


def gather(images, permutation):
    b, c, h, w = images.shape
    tiles = images.view(b, c, 4, h // 4, 4, w // 4).permute(0, 2, 4, 1, 3, 5).reshape(b, 16, -1)
    tiles = tiles.gather(1, permutation[:, :, None].expand_as(tiles))
    return tiles.view(b, 4, 4, c, h // 4, w // 4).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


def copy(images, _):
    return images.clone()


def make(side, dtype, device):
    images = torch.randint(256, (BATCH[side], 3, side, side), dtype=torch.uint8, device=device)
    return [images.to(dtype), torch.rand(BATCH[side], 16, device=device).argsort(1)]


def cases(device, full):
    peers = {"dssl_ops": Peer(lambda: loss(ours), "dssl_ops"), "slicing": Peer(lambda: loss(slicing))}
    peers |= {"gather": Peer(lambda: loss(gather)), "copy": Peer(lambda: loss(copy), equal=False)}
    for side in BATCH:
        for dtype in (torch.uint8, torch.float32) if full else (torch.uint8,):
            name, shape = str(dtype).removeprefix("torch."), (BATCH[side], 3, side, side)
            moved = 2 * BATCH[side] * 3 * side * side * dtype.itemsize
            inputs = partial(make, side, dtype, device)
            yield Case("jigsaw", "jigsaw", "x".join(map(str, shape)), name, inputs, peers, items=shape[0], moved=moved)
