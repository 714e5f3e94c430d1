"""SimSiam on ImageNet.

FULL has the networks and optimiser of the authors' code: ResNet-50 that starts uniform over the fan-in, without
zero-init; a projector of three layers with biases whose last batch norm is learnt (the original: no biases, fixed);
lr 0.05 x 512/256, cosine per epoch, no warm-up, decay 1e-4 on every parameter. SMALL: 64 pixels, two CPU cores.
"""

from .shared import IMAGENET_FULL, IMAGENET_SMALL, PAPER_HEAVY, VIEW_IMAGENET

COMMON = dict(method="simsiam", dataset="imagenet", optimizer="sgd", momentum=0.9, weight_decay=1e-4,
              **VIEW_IMAGENET, **PAPER_HEAVY)  # fmt: skip
SMALL = IMAGENET_SMALL | COMMON | dict(projector=(512, 512), projector_norm="fixed", predictor=128, lr=0.03)
FULL = IMAGENET_FULL | COMMON | dict(
    projector=(2048, 2048, 2048), projector_norm="affine", predictor=512, fan_in_init=True, lr=0.1,
    warmup_epochs=0, schedule="epoch",
)  # fmt: skip
