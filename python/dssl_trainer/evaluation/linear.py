"""Linear classifiers on a frozen encoder by SGD, and the supervised network that they are compared with: one loop."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from dssl_ops import image_op
from dssl_ops.transforms import Compose, HorizontalFlip, MultiView, RandomResizedCrop

from ..bar import bar
from ..data.dataset import Images
from ..data.loader import image_order
from ..data.views import normalize, normalized
from ..device import autocast, memory_format, to_device
from ..errors import TrainerError
from ..optimizers import LARS

TEST_BATCH = 256  # of the authors' test loader, which drops what does not fill a batch


@dataclass(frozen=True)
class Protocol:
    """How a classifier is trained. schedule: 'steps', a tenth at 60 and 80 of 100 epochs, or 'cosine', per epoch."""

    about: str
    epochs: int
    batch_size: int
    lr: float
    schedule: str
    crop: tuple
    interpolation: str
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    scales: bool = False  # lr is that of batch_size, and proportional to it


CIFAR10 = Protocol("SGD lr 30, frozen backbone (the authors, CIFAR-10)", 100, 256, 30.0, "steps", (0.8, 1.0), "bicubic")
IMAGENET = Protocol(
    "LARC lr 1.6 at batch 4096, frozen backbone (the authors, ImageNet)", 90, 4096, 1.6, "cosine", (0.08, 1.0),
    "bilinear", optimizer="larc", scales=True,
)  # fmt: skip
LINEAR = {"cifar10": CIFAR10, "imagenet": IMAGENET}


def supervised_protocol(config):
    """Ours: the paper prints 93.02 for ResNet-18 on CIFAR-10 and gives no recipe."""
    decay = 5e-4 if config.dataset == "cifar10" else 1e-4
    return Protocol("supervised from scratch: SGD lr 0.1 x batch/256, cosine (our recipe)", config.epochs,
                    256, 0.1, "cosine", config.crop, config.interpolation, weight_decay=decay, scales=True)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """Top-1 in percent after each epoch: of all test images, and of those that fill the authors' batches."""

    all: list
    full_batches: list
    counted: int  # images in full batches

    def summary(self):
        best = max(range(len(self.full_batches)), key=self.full_batches.__getitem__)
        theirs = {"top1": self.full_batches[best], "epoch": best + 1, "test_images": self.counted}
        about = "best epoch chosen on the test set, last partial test batch left out: the authors' protocol"
        return {"top1": self.all[-1], "about_top1": "last epoch, all test images",
                "authors_best_on_test": theirs | {"about": about}}  # fmt: skip


def train_classifier(encoder, dataset, config, protocol, frozen=True):
    """The Curve of a linear classifier, N(0, 0.01) at the start, on the encoder; the latter too unless `frozen`."""
    size = min(protocol.batch_size, len(dataset.train))
    rate = protocol.lr * (size / protocol.batch_size if protocol.scales else 1)
    head = new_head(encoder.width, len(dataset.classes), config)
    encoder = encoder.requires_grad_(not frozen)
    optimizer = new_optimizer([*([] if frozen else encoder.parameters()), *head.parameters()], protocol, rate)
    curve = Curve([], [], len(dataset.test) // TEST_BATCH * TEST_BATCH or len(dataset.test))
    steps = len(dataset.train) // size
    maker = training_view(config, protocol)
    with bar(total=protocol.epochs * steps, desc="supervised" if not frozen else "linear", unit="step") as progress:
        for epoch in range(protocol.epochs):
            set_rate(optimizer, rate * factor(protocol, epoch))
            encoder.train(not frozen)
            for ids in image_order(config.seed, epoch, len(dataset.train)).split(size)[:steps]:
                loss = step(encoder, head, optimizer, batch(dataset.train, ids, maker, config, epoch), config, frozen)
                progress.update()
            if not math.isfinite(loss.item()):
                raise TrainerError(f"the classifier's loss is {loss.item()} after epoch {epoch + 1}")
            test(encoder, head, dataset.test, config, protocol, curve)
            progress.set_postfix_str(f"loss {loss.item():.3f}, test {curve.all[-1]:.2f} %")
    return curve


def new_head(width, classes, config):
    head = nn.Linear(width, classes)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 0.01)
        head.bias.zero_()
    return head.to(config.device)


def new_optimizer(parameters, protocol, rate):
    """LARC without clipping is LARS on all parameters, biases too; its trust coefficient 0.001."""
    if protocol.optimizer == "larc":
        return LARS(parameters, rate, momentum=0.9, weight_decay=protocol.weight_decay, trust=1e-3)
    return torch.optim.SGD(parameters, rate, momentum=0.9, weight_decay=protocol.weight_decay)


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def factor(protocol, epoch):
    """Of the learning rate in epoch 0, 1, .."""
    if protocol.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epoch / protocol.epochs))
    return 0.1 ** sum(100 * epoch >= mark * protocol.epochs for mark in (60, 80))


def training_view(config, protocol):
    crop = RandomResizedCrop(config.image_size, protocol.crop, interpolation=protocol.interpolation)
    return MultiView((Compose((crop, HorizontalFlip(0.5))),), 1, normalize(config))


def batch(images, ids, maker, config, epoch):
    given, layout = to_device(images.batch(ids), config), memory_format(config)
    views = maker(given, seed=config.seed, epoch=epoch, sample_ids=ids, memory_format=layout)
    return views[0], images.labels[ids].to(config.device)


def step(encoder, head, optimizer, batch, config, frozen):
    images, labels = batch
    with torch.set_grad_enabled(not frozen), autocast(config):
        features = encoder(images)
    with torch.enable_grad():
        loss = F.cross_entropy(head(features.float()), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def test(encoder, head, images, config, protocol, curve):
    """Adds an epoch to the curve."""
    encoder.eval()
    hits = []
    for ids in torch.arange(len(images)).split(TEST_BATCH):
        pixels = centred(images, ids, config, protocol)
        with autocast(config):
            found = encoder(normalized(pixels, config)).float()
        hits.append(head(found).argmax(1).cpu() == images.labels[ids])
    correct = torch.cat(hits).double()
    curve.all.append(100 * correct.mean().item())
    curve.full_batches.append(100 * correct[: curve.counted].mean().item())


def centred(images, ids, config, protocol):
    """uint8 (B, 3, S, S) as the protocols test: the shorter side 8/7 of S, the centre. CIFAR-10: 36 bicubic, 32."""
    pixels, side = to_device(images.plain(ids), config), config.image_size
    if not isinstance(images, Images):  # files come centred
        return pixels
    larger = int(side * 8 / 7)
    edge = (larger - side) // 2
    resized = image_op(pixels, "ResizedCrop", (0, 0, *pixels.shape[2:]), (larger, larger), protocol.interpolation)
    return resized[..., edge : edge + side, edge : edge + side].contiguous()
