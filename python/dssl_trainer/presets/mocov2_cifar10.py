"""MoCo v2 on CIFAR-10 (not in the paper's tables).

FULL is the notebook of MoCo's authors: one linear layer to 128, a queue of 4,096, momentum 0.99, T 0.1, SGD with lr
0.03 x 512/256 and decay 5e-4, cosine per epoch, crops from 0.08, no blur; batch norm in 8 groups stands for 8 GPUs
(without it, minus 4 points). --symmetric is the notebook's option: +1 to 3 points of kNN.
"""

from .shared import CIFAR10_FULL, CIFAR10_SMALL, PAPER_HEAVY, VIEW_CIFAR10

COMMON = dict(method="mocov2", dataset="cifar10", projector_norm="none", temperature=0.1, queue=4096, ema=0.99,
              ema_schedule="constant", symmetric=False, optimizer="sgd", lr=0.06, momentum=0.9, weight_decay=5e-4,
              **VIEW_CIFAR10, **PAPER_HEAVY) | dict(crop=(0.08, 1.0))  # fmt: skip
SMALL = CIFAR10_SMALL | COMMON | dict(projector=(256, 128), bn_splits=4)
FULL = CIFAR10_FULL | COMMON | dict(projector=(128,), bn_splits=8, warmup_epochs=0, schedule="epoch")
