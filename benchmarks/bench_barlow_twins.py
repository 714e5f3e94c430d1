"""Barlow Twins, N = 512: ours against eager and torch.compile, both through C.

python benchmarks/bench_barlow_twins.py [D ...]
"""

import sys

import torch
from harness import compare_and_time

from dssl_ops import barlow_twins, barlow_twins_reference

ROUNDS = {128: 40, 2048: 10, 8192: 2}

if __name__ == "__main__":
    barlow_twins(torch.ones(2, 2), torch.ones(2, 2))  # builds
    compiled = torch.compile(barlow_twins_reference)
    providers = {"dssl_ops": barlow_twins, "eager": barlow_twins_reference, "compile": compiled}
    for d in map(int, sys.argv[1:] or ROUNDS):
        make = lambda d=d: [torch.randn(512, d, requires_grad=True) for _ in range(2)]  # noqa: E731
        compare_and_time("barlow_twins", f"512x{d}", make, providers, ROUNDS.get(d, 5))
