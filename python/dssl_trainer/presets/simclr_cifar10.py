"""SimCLR on CIFAR-10.

The paper's ResNet-18 at batch 512 was never released. FULL is our choice: the code that the paper names, simclr-pytorch
(LARS, decay 1e-6, T 0.5, jitter of strength 0.5, no blur, pixels in [0, 1] without mean and deviation, output 128 with
a batch norm whose shift stays 0), at lr 1.0 x 512/256, ten epochs of warm-up, the paper's 800 epochs. SMALL: SGD.
"""

from .shared import CIFAR10_FULL, CIFAR10_SMALL, PAPER_HEAVY, VIEW_CIFAR10

COMMON = dict(method="simclr", dataset="cifar10", projector_norm="scale", temperature=0.5, momentum=0.9,
              schedule="step", **VIEW_CIFAR10, **PAPER_HEAVY)  # fmt: skip
COMMON |= dict(crop=(0.08, 1.0), interpolation="bicubic", normalize=False)
SMALL = CIFAR10_SMALL | COMMON | dict(projector=(256, 128), optimizer="sgd", lr=0.06, weight_decay=5e-4)
FULL = CIFAR10_FULL | COMMON | dict(
    projector=(512, 128), optimizer="lars", trust=1e-3, lr=2.0, weight_decay=1e-6, warmup_epochs=10,
)  # fmt: skip
