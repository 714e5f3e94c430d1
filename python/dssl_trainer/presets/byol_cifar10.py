"""BYOL on CIFAR-10.

The authors did not release it. FULL: the optimiser, schedule and views of their SimSiam on CIFAR-10 (the paper says so
for both methods), the heads of their BYOL on ImageNet (4096-256, biases, no batch norm at the end), momentum of the
target constant 0.99. Original BYOL: LARS, ema 0.99 to 1 by a cosine (--ema-schedule cosine), asymmetric views.
"""

from .shared import CIFAR10_FULL, CIFAR10_SMALL, PAPER_HEAVY, VIEW_CIFAR10

COMMON = dict(method="byol", dataset="cifar10", projector_norm="none", optimizer="sgd", lr=0.06, momentum=0.9,
              weight_decay=5e-4, ema=0.99, ema_schedule="constant", **VIEW_CIFAR10, **PAPER_HEAVY)  # fmt: skip
SMALL = CIFAR10_SMALL | COMMON | dict(projector=(512, 128), predictor=512)
FULL = CIFAR10_FULL | COMMON | dict(projector=(4096, 256), predictor=4096, warmup_epochs=10, schedule="epoch")
