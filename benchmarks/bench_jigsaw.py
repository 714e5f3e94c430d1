"""JigSaw with a 4 x 4 grid, a permutation per image: ours against slicing tile by tile and against one gather."""

import torch
from harness import compare_and_time

from dssl_ops import jigsaw, jigsaw_reference


def slicing(images, permutation):
    return jigsaw_reference(images, 4, permutation)


def gather(images, permutation):
    b, c, h, w = images.shape
    tiles = images.view(b, c, 4, h // 4, 4, w // 4).permute(0, 2, 4, 1, 3, 5).reshape(b, 16, -1)
    tiles = tiles.gather(1, permutation[:, :, None].expand_as(tiles))
    return tiles.view(b, 4, 4, c, h // 4, w // 4).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)


if __name__ == "__main__":
    implementations = {"dssl_ops": lambda x, p: jigsaw(x, 4, p), "slicing": slicing, "gather": gather}
    for side in (32, 224):
        make = lambda side=side: [  # noqa: E731
            torch.randint(256, (128, 3, side, side), dtype=torch.uint8),
            torch.rand(128, 16).argsort(1),
        ]
        compare_and_time("jigsaw", f"128x3x{side}x{side}", make, implementations, rounds=20, tolerance=0)
