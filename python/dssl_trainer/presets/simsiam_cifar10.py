"""SimSiam on CIFAR-10.

FULL has the networks and optimiser of the authors' code: ResNet-18 with the CIFAR stem, 800 epochs of batch 512, lr
0.03 x 512/256, ten epochs of warm-up, momentum SGD with decay on every parameter. No blur. SMALL fits two CPU cores.
"""

from .shared import CIFAR10_FULL, CIFAR10_SMALL, PAPER_HEAVY, VIEW_CIFAR10

COMMON = dict(method="simsiam", dataset="cifar10", projector_norm="fixed", optimizer="sgd", lr=0.06, momentum=0.9,
              weight_decay=5e-4, **VIEW_CIFAR10, **PAPER_HEAVY)  # fmt: skip
SMALL = CIFAR10_SMALL | COMMON | dict(projector=(512, 512), predictor=128)
FULL = CIFAR10_FULL | COMMON | dict(projector=(2048, 2048), predictor=512, warmup_epochs=10, schedule="epoch")
