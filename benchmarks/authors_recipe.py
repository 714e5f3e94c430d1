"""The authors' views, re-written from their description in Pillow and torchvision's transforms of PIL images.

This is what a user of the paper's own code runs, image by image in the workers of a DataLoader: the standard view,
RandAugment from their 16 operations, JigSaw through NumPy, ToTensor and Normalize. UniformAugment, which they did not
release, is that of the public reimplementation (op_sets.ua15).
"""

import random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JITTER, JITTER_BYOL = (0.4, 0.4, 0.4, 0.1), (0.4, 0.4, 0.2, 0.1)
BLUR_FROM = 64  # pixels a side: the authors blur ImageNet and not CIFAR


def to_pil(images):
    return [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]


def shuffle_tiles(image):
    """JigSaw(4) through NumPy: the authors' transform in its quickest form, no loop over tiles."""
    pixels = np.asarray(image)
    height, width, channels = pixels.shape
    tiles = pixels.reshape(4, height // 4, 4, width // 4, channels).swapaxes(1, 2)
    tiles = tiles.reshape(16, height // 4, width // 4, channels)[np.random.permutation(16)]
    tiles = tiles.reshape(4, 4, height // 4, width // 4, channels).swapaxes(1, 2)
    return Image.fromarray(tiles.reshape(height, width, channels))


def signed(value):
    return value if random.random() < 0.5 else -value


def affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def solarize_add(image, addend):
    added = np.array(image).astype(np.int64) + addend
    return ImageOps.solarize(Image.fromarray(np.clip(added, 0, 255).astype(np.uint8)), 128)


def cutout(image, side):
    width, height = image.size
    left, top = (int(max(0, random.uniform(0, edge) - side / 2)) for edge in image.size)
    image = image.copy()
    box = (left, top, min(width, left + side), min(height, top + side))
    ImageDraw.Draw(image).rectangle(box, (125, 123, 114))
    return image


# The authors' 16 operations at magnitude 5 of 30.
AUTHOR16 = (
    ImageOps.autocontrast,
    ImageOps.equalize,
    ImageOps.invert,
    lambda x: x.rotate(signed(5)),
    lambda x: ImageOps.posterize(x, 1),
    lambda x: ImageOps.solarize(x, 256 / 6),
    lambda x: solarize_add(x, 110 / 6),
    lambda x: ImageEnhance.Color(x).enhance(0.4),
    lambda x: ImageEnhance.Contrast(x).enhance(0.4),
    lambda x: ImageEnhance.Brightness(x).enhance(0.4),
    lambda x: ImageEnhance.Sharpness(x).enhance(0.4),
    lambda x: affine(x, 1, signed(0.05), 0, 0, 1, 0),
    lambda x: affine(x, 1, 0, 0, signed(0.05), 1, 0),
    lambda x: cutout(x, 40 / 6),
    lambda x: affine(x, 1, 0, signed(100 / 6), 0, 1, 0),
    lambda x: affine(x, 1, 0, 0, 0, 1, signed(100 / 6)),
)

# UniformAugment's 15 with u uniform in [0, 1).
UNIFORM15 = (
    lambda x, u: affine(x, 1, signed(0.3 * u), 0, 0, 1, 0),
    lambda x, u: affine(x, 1, 0, 0, signed(0.3 * u), 1, 0),
    lambda x, u: affine(x, 1, 0, signed(0.45 * u * x.width), 0, 1, 0),
    lambda x, u: affine(x, 1, 0, 0, 0, 1, signed(0.45 * u * x.height)),
    lambda x, u: x.rotate(signed(30 * u)),
    lambda x, u: ImageOps.autocontrast(x),
    lambda x, u: ImageOps.invert(x),
    lambda x, u: ImageOps.equalize(x),
    lambda x, u: ImageOps.solarize(x, 256 * u),
    lambda x, u: ImageOps.posterize(x, int(4 + 4 * u)),
    lambda x, u: ImageEnhance.Contrast(x).enhance(0.1 + 1.8 * u),
    lambda x, u: ImageEnhance.Color(x).enhance(0.1 + 1.8 * u),
    lambda x, u: ImageEnhance.Brightness(x).enhance(0.1 + 1.8 * u),
    lambda x, u: ImageEnhance.Sharpness(x).enhance(0.1 + 1.8 * u),
    lambda x, u: cutout(x, 0.2 * u * x.width),
)


def rand_augment(image):
    for operation in random.choices(AUTHOR16, k=2):
        image = operation(image)
    return image


def uniform_augment(image):
    for operation in random.choices(UNIFORM15, k=2):
        if random.random() < random.random():
            image = operation(image, random.random())
    return image


def heavy(image):
    return shuffle_tiles(rand_augment(image))


def choice(image):
    return rand_augment(image) if random.random() < 0.9 else shuffle_tiles(image)


class Recipe:
    """Makers of views for images of `size` pixels a side: PIL image in, PIL image out; `four` gives tensors."""

    def __init__(self, size):
        from torchvision import transforms as v1

        def view(scale, jitter, blur, solarize=0.0, **crop):
            steps = [v1.RandomResizedCrop(size, scale, **crop), v1.RandomHorizontalFlip()]
            steps += [v1.RandomApply([v1.ColorJitter(*jitter)], p=0.8), v1.RandomGrayscale(0.2)]
            steps += [v1.RandomApply([v1.Lambda(gaussian_blur)], p=blur)] if blur else []
            return v1.Compose([*steps, *([v1.RandomSolarize(128, solarize)] if solarize else [])])

        bicubic = {"interpolation": v1.InterpolationMode.BICUBIC}
        self.standard = view((0.2, 1), JITTER, 0.5 if size >= BLUR_FROM else 0)
        pair = (1.0, 0.0), (0.1, 0.2)
        self.byol = [view((0.08, 1), JITTER_BYOL, blur, solarize, **bicubic) for blur, solarize in pair]
        self.tensor = v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])

    def four(self, image):
        """v, v', v^ and v^' of DSSL, normalised."""
        v, v_prime = self.standard(image), self.standard(image)
        return [self.tensor(view) for view in (v, v_prime, heavy(v), heavy(v_prime))]


def gaussian_blur(image):
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))


def stacked(views_of_images):
    """Views of each image -> one batch a view."""
    return [torch.stack(views) for views in zip(*views_of_images, strict=True)]
