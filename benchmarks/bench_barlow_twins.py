"""Barlow Twins, N = 512: ours against eager and torch.compile, both through C.

python -m benchmarks.bench_barlow_twins [--quick] [D ...]        all of it: about two minutes on two idle cores
"""

import torch

from benchmarks.harness import compare_and_time, sizes
from dssl_ops import barlow_twins, barlow_twins_reference

ROWS, WIDTHS = 512, [128, 2048, 8192]


def views(width):
    return [torch.randn(ROWS, width, requires_grad=True) for _ in range(2)]


if __name__ == "__main__":
    barlow_twins(torch.ones(2, 2), torch.ones(2, 2))  # builds
    compiled = torch.compile(barlow_twins_reference)
    implementations = {"dssl_ops": barlow_twins, "eager": barlow_twins_reference, "compile": compiled}
    for d in sizes(WIDTHS):
        compare_and_time("barlow_twins", f"{ROWS}x{d}", lambda d=d: views(d), implementations, rounds=40)
