"""Barlow Twins on ImageNet.

FULL is the official recipe at the paper's 100 epochs of batch 512: zero-init ResNet-50, projector 8192-8192-8192
without biases, lambda 0.0051, loss unscaled; LARS with lr 0.2 x 512/256 for matrices and 0.0048 x 512/256 for biases
and norms, which have no decay and no adaptation; decay 1e-6; ten epochs of warm-up, then a cosine to a thousandth;
the views of BYOL.
"""

from .shared import IMAGENET_FULL, IMAGENET_SMALL, PAPER_HEAVY, VIEW_BYOL

COMMON = dict(method="barlow", dataset="imagenet", projector_norm="none", lambd=0.0051, barlow_scale=1.0, momentum=0.9,
              schedule="step", **VIEW_BYOL, **PAPER_HEAVY)  # fmt: skip
SMALL = IMAGENET_SMALL | COMMON | dict(projector=(512, 512), optimizer="sgd", lr=0.03, weight_decay=1e-4)
FULL = IMAGENET_FULL | COMMON | dict(
    projector=(8192, 8192, 8192), zero_init=True, optimizer="lars", trust=1e-3, lr=0.4, lr_1d=0.0096, lr_end=0.001,
    weight_decay=1e-6, warmup_epochs=10,
)  # fmt: skip
