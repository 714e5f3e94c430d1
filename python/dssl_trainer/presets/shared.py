"""What recipes have in common."""

# Two CPU cores: a half-width ResNet-10 on 16-pixel maps, batch 128, ten epochs.
CIFAR10_SMALL = dict(
    scale="small", encoder="resnet10_half", batch_size=128, epochs=10, warmup_epochs=0, schedule="step",
    precision="auto", knn_every=2, checkpoint_every=1,
)  # fmt: skip
IMAGENET_SMALL = CIFAR10_SMALL | dict(image_size=64, batch_size=64, epochs=5, workers=2, knn_limit=20000)

CIFAR10_FULL = dict(
    scale="full", encoder="resnet18_cifar", batch_size=512, epochs=800, precision="fp32", knn_every=5,
    checkpoint_every=1, keep_every=100,
)  # fmt: skip
IMAGENET_FULL = dict(
    scale="full", encoder="resnet50", image_size=224, batch_size=512, epochs=100, precision="fp32", workers=12,
    knn_every=10, knn_limit=100000, checkpoint_every=1, keep_every=10,
)  # fmt: skip

# The paper's default (Sec. 4.1), every heavy view derived from its standard view, no reverse term. The authors'
# launchers: RA(2,9), no JigSaw on CIFAR-10, on ImageNet one of the two, Choice(0.9*RA(2,9), 0.1*Jigsaw(4)); delta 0.1.
PAPER_HEAVY = dict(heavy="RA(2,5)+Jigsaw(4)", op_set="author16", heavy_from="view", alpha=1.0, beta=0.0, gamma=1.0,
                   delta=0.0, loss_scale="sum")  # fmt: skip

# Standard views: crop, flip, jitter, grey, blur, in this order.
VIEW_CIFAR10 = dict(crop=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.8, grayscale=0.2, blur=(0.0, 0.0))
VIEW_IMAGENET = VIEW_CIFAR10 | dict(blur=(0.5, 0.5))
VIEW_BYOL = dict(
    crop=(0.08, 1.0), interpolation="bicubic", jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, grayscale=0.2,
    blur=(1.0, 0.1), solarize=(0.0, 0.2),
)  # fmt: skip
