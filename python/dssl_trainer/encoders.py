"""ResNets. Parameter names are torchvision's, so that weights move between the two."""

import torch
from torch import nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut (He et al. 2016, Fig. 5 left)."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet(nn.Module):
    """(B, 3, H, W) -> (B, width), the last stage's width. Stem: one 3x3 convolution, no max-pool."""

    def __init__(self, blocks, channels, stem_stride):
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(channels, channels, blocks[0], 1)
        self.layer2 = stage(channels, 2 * channels, blocks[1], 2)
        self.layer3 = stage(2 * channels, 4 * channels, blocks[2], 2)
        self.layer4 = stage(4 * channels, 8 * channels, blocks[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.width = 8 * channels

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.avgpool(x).flatten(1)


def stage(channels_in, channels, blocks, stride):
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def resnet18_cifar():
    """The authors' encoder: 11.17 M parameters, 512 features."""
    return ResNet((2, 2, 2, 2), channels=64, stem_stride=1)


def resnet10_half():
    """One block a stage, half width, 16-pixel maps: 1.23 M parameters, 256 features, 32 MFLOP a view."""
    return ResNet((1, 1, 1, 1), channels=32, stem_stride=2)


def resnet10_eighth():
    """For tests: 8 channels in the stem, 64 features, 77 thousand parameters."""
    return ResNet((1, 1, 1, 1), channels=8, stem_stride=2)


def torchvision_resnet(name):
    """torchvision's network for 224-pixel images without its classifier."""
    from torchvision import models

    encoder = getattr(models, name)()
    encoder.width = encoder.fc.in_features
    encoder.fc = nn.Identity()
    return encoder


ENCODERS = {
    "resnet10_eighth": resnet10_eighth,
    "resnet10_half": resnet10_half,
    "resnet18_cifar": resnet18_cifar,
    "resnet18": lambda: torchvision_resnet("resnet18"),
    "resnet50": lambda: torchvision_resnet("resnet50"),
}


def new_encoder(config):
    """The encoder that the settings name, freshly initialised (torch's default, or as they say)."""
    encoder = ENCODERS[config.encoder]()
    if config.zero_init:
        for block in encoder.modules():
            last = getattr(block, "bn3", None) or getattr(block, "bn2", None)
            if last is not None:
                nn.init.zeros_(last.weight)
    return encoder


def fan_in_init(module):
    """U(-1/sqrt(fan in), 1/sqrt(fan in)) for weights and biases, as the authors' SimSiam on ImageNet has it."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            for parameter in (layer.weight, *([] if layer.bias is None else [layer.bias])):
                torch.nn.init.uniform_(parameter, -bound, bound)
