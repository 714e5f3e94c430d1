"""JigSaw with a 4 x 4 grid, a permutation per image: ours against one gather, slicing tile by tile and a plain copy.

python -m benchmarks.bench_jigsaw
"""

from functools import partial

import torch

from benchmarks.harness import compare_and_time
from dssl_ops import jigsaw, jigsaw_reference


def slicing(images, permutation):
    return jigsaw_reference(images, 4, permutation)


def gather(images, permutation):
    b, c, h, w = images.shape
    tiles = images.view(b, c, 4, h // 4, 4, w // 4).permute(0, 2, 4, 1, 3, 5).reshape(b, 16, -1)
    tiles = tiles.gather(1, permutation[:, :, None].expand_as(tiles))
    return tiles.view(b, 4, 4, c, h // 4, w // 4).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


def make(side, dtype):
    images = torch.randint(256, (128 if side > 64 else 512, 3, side, side), dtype=torch.uint8)
    return [images.to(dtype), torch.rand(len(images), 16).argsort(1)]


if __name__ == "__main__":
    implementations = {"dssl_ops": lambda x, p: jigsaw(x, 4, p), "slicing": slicing, "gather": gather}
    for side in (32, 224):
        for dtype in (torch.uint8, torch.float32):
            inputs = partial(make, side, dtype)
            shape = "x".join(map(str, inputs()[0].shape))
            compare_and_time("jigsaw", shape, inputs, implementations, rounds=20, tolerance=0)
            compare_and_time("jigsaw", shape, inputs, {"copy": lambda x, _: x.clone()}, rounds=20)
