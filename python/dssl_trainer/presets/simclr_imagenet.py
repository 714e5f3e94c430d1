"""SimCLR on ImageNet.

FULL is simclr-pytorch's 100 epochs at batch 512: LARS, lr 0.3 x 512/256, decay 1e-6, T 0.1, ten epochs of warm-up,
jitter of strength 1, blur with probability 0.5 (sigma 0.1 to 2; there 0.2 to 2), pixels in [0, 1] without mean and
deviation, output 128 with a batch norm whose shift stays 0.
"""

from .shared import IMAGENET_FULL, IMAGENET_SMALL, PAPER_HEAVY, VIEW_IMAGENET

COMMON = dict(method="simclr", dataset="imagenet", projector_norm="scale", momentum=0.9, schedule="step",
              **VIEW_IMAGENET, **PAPER_HEAVY)  # fmt: skip
COMMON |= dict(crop=(0.08, 1.0), interpolation="bicubic", jitter=(0.8, 0.8, 0.8, 0.2), normalize=False)
SMALL = IMAGENET_SMALL | COMMON | dict(projector=(256, 128), temperature=0.2, optimizer="sgd", lr=0.03,
                                       weight_decay=1e-4)  # fmt: skip
FULL = IMAGENET_FULL | COMMON | dict(
    projector=(2048, 128), temperature=0.1, optimizer="lars", trust=1e-3, lr=0.6, weight_decay=1e-6, warmup_epochs=10,
)  # fmt: skip
