"""ResNets for 32-pixel images. Parameter names are torchvision's, so that weights move between the two."""

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


ENCODERS = {"resnet18_cifar": resnet18_cifar, "resnet10_half": resnet10_half}
