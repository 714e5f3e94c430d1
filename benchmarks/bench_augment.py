"""The heavy view, standard view then RandAugment(2, 5) then JigSaw(4), of a CIFAR-sized batch: ours against Pillow."""

import torch
from harness import compare_and_time

from dssl_ops import augment, augment_reference, transforms

HEAVY = transforms.Compose(
    [transforms.StandardView.cifar10(), transforms.RandAugment(2, 5), transforms.Jigsaw(4)]
)  # fmt: skip

if __name__ == "__main__":
    program = HEAVY.sample(torch.zeros(256, 3, 32, 32, dtype=torch.uint8), seed=0)
    implementations = {"dssl_ops": lambda x: augment(x, program), "Pillow": lambda x: augment_reference(x, program)}
    make = lambda: [torch.randint(256, (256, 3, 32, 32), dtype=torch.uint8)]  # noqa: E731
    compare_and_time("augment", "256x3x32x32", make, implementations, rounds=10, tolerance=0)
