"""BYOL on ImageNet.

FULL follows the authors' code: SGD with SimSiam's rate and views (no solarisation, the same blur for both), heads
4096-256 with biases, momentum of the target constant 0.99 after each step, parameters only. Their released heavy
setting (RA(2,9) before the standard view, a second crop in the heavy one) belongs to Table 3 and is not this one.
"""

from .shared import IMAGENET_FULL, IMAGENET_SMALL, PAPER_HEAVY, VIEW_IMAGENET

COMMON = dict(method="byol", dataset="imagenet", projector_norm="none", optimizer="sgd", momentum=0.9,
              weight_decay=1e-4, ema=0.99, ema_schedule="constant", **VIEW_IMAGENET, **PAPER_HEAVY)  # fmt: skip
SMALL = IMAGENET_SMALL | COMMON | dict(projector=(512, 128), predictor=512, lr=0.03)
FULL = IMAGENET_FULL | COMMON | dict(projector=(4096, 256), predictor=4096, lr=0.1, warmup_epochs=0, schedule="epoch")
