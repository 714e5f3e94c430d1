"""MoCo v2 on ImageNet.

FULL is the official recipe at the paper's 100 epochs of batch 512: head 2048-128 with biases and ReLU, no batch norm;
a queue of 65,536, momentum 0.999, T 0.2; SGD with lr 0.03 x 512/256, decay 1e-4 on every parameter, cosine per epoch,
no warm-up. Batch norm in 8 groups, rows shuffled over them: one group each on 8 GPUs, 8 groups on one.
"""

from .shared import IMAGENET_FULL, IMAGENET_SMALL, PAPER_HEAVY, VIEW_IMAGENET

COMMON = dict(method="mocov2", dataset="imagenet", projector_norm="none", temperature=0.2, ema_schedule="constant",
              symmetric=False, optimizer="sgd", momentum=0.9, weight_decay=1e-4, **VIEW_IMAGENET,
              **PAPER_HEAVY)  # fmt: skip
SMALL = IMAGENET_SMALL | COMMON | dict(projector=(256, 128), queue=4096, ema=0.99, bn_splits=4, lr=0.03)
FULL = IMAGENET_FULL | COMMON | dict(
    projector=(2048, 128), queue=65536, ema=0.999, bn_splits=8, lr=0.06, warmup_epochs=0, schedule="epoch",
)  # fmt: skip
