"""Barlow Twins on CIFAR-10 (not in the paper's tables).

FULL takes lightly's benchmark: two layers of 2048, SGD with lr 0.06 x 512/128 and decay 5e-4, ten epochs of warm-up,
lambda 0.005, the loss unscaled: beside its hundreds the directed terms of DSSL, at most 1, are hardly felt;
--barlow-scale 0.1 is solo-learn's. The views are SimSiam's.
"""

from .shared import CIFAR10_FULL, CIFAR10_SMALL, PAPER_HEAVY, VIEW_CIFAR10

COMMON = dict(method="barlow", dataset="cifar10", projector_norm="none", lambd=0.005, barlow_scale=1.0,
              optimizer="sgd", momentum=0.9, weight_decay=5e-4, schedule="step", **VIEW_CIFAR10,
              **PAPER_HEAVY)  # fmt: skip
SMALL = CIFAR10_SMALL | COMMON | dict(projector=(512, 512), lr=0.06)
FULL = CIFAR10_FULL | COMMON | dict(projector=(2048, 2048), lr=0.24, warmup_epochs=10)
