"""SimSiam on CIFAR-10.

FULL has the networks and optimiser of the authors' code: ResNet-18 with the CIFAR stem, 800 epochs of batch 512, lr
0.03 x 512/256, ten epochs of warm-up. Its heavy policy is the paper's default (Sec. 4.1): RA(2,5), then
JigSaw(4), every heavy view derived from its standard view, no reverse term (the authors' launcher: RA(2,9),
no JigSaw, delta 0.1). SMALL fits two CPU cores: a half-width ResNet-10 on 16-pixel maps, smaller heads,
batch 128, ten epochs.
"""

from ..config import Config

SMALL = Config(
    method="simsiam", dataset="cifar10", scale="small",
    op_set="author16", ra_n=2, ra_m=5, jigsaw_grid=4, jigsaw_p=1.0,
    encoder="resnet10_half", projector=(512, 512), predictor=128, loss_scale="sum",
    batch_size=128, epochs=10, lr=0.06, momentum=0.9, weight_decay=5e-4, warmup_epochs=0, schedule="step",
    precision="auto", knn_every=2, checkpoint_every=1,
)  # fmt: skip

FULL = Config(
    method="simsiam", dataset="cifar10", scale="full",
    op_set="author16", ra_n=2, ra_m=5, jigsaw_grid=4, jigsaw_p=1.0,
    encoder="resnet18_cifar", projector=(2048, 2048), predictor=512, loss_scale="sum",
    batch_size=512, epochs=800, lr=0.06, momentum=0.9, weight_decay=5e-4, warmup_epochs=10, schedule="epoch",
    precision="fp32", knn_every=5, checkpoint_every=1,
)  # fmt: skip
