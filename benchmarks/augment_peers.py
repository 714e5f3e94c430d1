"""The peers of bench_augment.py. Each is a class with a method a pipeline, which maps images to views, and lacks those
it cannot do; making one raises ImportError, with the reason, where its package is missing.

Images are uint8 (3, H, W) tensors, PIL images or (H, W, 3) arrays, whatever the peer likes best, made before the clock
runs; views are what it gives by itself. `per_image`: a call works on one core through Python, image by image.
`one_draw`: the pipelines in which all images of a batch get the same operations, which does not serve for training.
"""

import random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
JITTER = (0.4, 0.4, 0.4, 0.1)
BLUR_FROM = 64  # pixels a side: the authors blur ImageNet and not CIFAR


def to_pil(images):
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def to_arrays(images):
    return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]


def shuffle_tiles(image):
    """JigSaw(4) through NumPy, as the authors' transform does."""
    tiles = [np.hsplit(row, 4) for row in np.vsplit(np.asarray(image), 4)]
    order = np.random.permutation(16).reshape(4, 4)
    return Image.fromarray(np.vstack([np.hstack([tiles[k // 4][k % 4] for k in row]) for row in order]))


def _signed(value):
    return value if random.random() < 0.5 else -value


def _affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _solarize_add(image, addend=110 / 6):
    added = np.array(image).astype(np.int64) + addend
    return ImageOps.solarize(Image.fromarray(np.clip(added, 0, 255).astype(np.uint8)), 128)


def _cutout(image, side=40 / 6):
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
    lambda x: x.rotate(_signed(5)),
    lambda x: ImageOps.posterize(x, 1),
    lambda x: ImageOps.solarize(x, 256 / 6),
    _solarize_add,
    lambda x: ImageEnhance.Color(x).enhance(0.4),
    lambda x: ImageEnhance.Contrast(x).enhance(0.4),
    lambda x: ImageEnhance.Brightness(x).enhance(0.4),
    lambda x: ImageEnhance.Sharpness(x).enhance(0.4),
    lambda x: _affine(x, 1, _signed(0.05), 0, 0, 1, 0),
    lambda x: _affine(x, 1, 0, 0, _signed(0.05), 1, 0),
    _cutout,
    lambda x: _affine(x, 1, 0, _signed(100 / 6), 0, 1, 0),
    lambda x: _affine(x, 1, 0, 0, 0, 1, _signed(100 / 6)),
)


def _rand_augment(image):
    for operation in random.choices(AUTHOR16, k=2):
        image = operation(image)
    return image


class Pillow:
    """The authors' recipe: Pillow and torchvision's v1-style transforms of PIL images, RandAugment in plain Pillow."""

    per_image, one_draw, prepare = True, (), staticmethod(to_pil)

    def __init__(self, size):
        from torchvision import transforms as v1

        jitter = v1.RandomApply([v1.ColorJitter(*JITTER)], p=0.8)
        steps = [v1.RandomResizedCrop(size, (0.2, 1)), v1.RandomHorizontalFlip(), jitter, v1.RandomGrayscale(0.2)]
        blur = v1.Lambda(lambda x: x.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2))))
        self.view = v1.Compose([*steps, *([v1.RandomApply([blur])] if size >= BLUR_FROM else [])])
        self.tensor = v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)])

    def rand_augment(self, images):
        return [_rand_augment(image) for image in images]

    def rand_augment_jigsaw(self, images):
        return [shuffle_tiles(_rand_augment(image)) for image in images]

    def standard(self, images):
        return [self.view(image) for image in images]

    def directed(self, images):
        pairs = [(self.view(image), self.view(image)) for image in images]
        four = [(*pair, *(shuffle_tiles(_rand_augment(view)) for view in pair)) for pair in pairs]
        return [torch.stack([self.tensor(view) for view in views]) for views in zip(*four, strict=True)]


class TorchvisionV2:
    """torchvision.transforms.v2 of PIL images; its RandAugment draws from torchvision's own 14 operations."""

    per_image, one_draw, prepare = True, (), staticmethod(to_pil)

    def __init__(self, size):
        from torchvision.transforms import v2

        steps = [v2.RandomResizedCrop(size, (0.2, 1), antialias=True), v2.RandomHorizontalFlip()]
        steps += [v2.RandomApply([v2.ColorJitter(*JITTER)], p=0.8), v2.RandomGrayscale(0.2)]
        blur = [v2.RandomApply([v2.GaussianBlur(size // 20 * 2 + 1, (0.1, 2))])] if size >= BLUR_FROM else []
        self.view, self.augment = v2.Compose(steps + blur), v2.RandAugment(2, 5)

    def rand_augment(self, images):
        return [self.augment(image) for image in images]

    def rand_augment_jigsaw(self, images):
        return [shuffle_tiles(self.augment(image)) for image in images]

    def standard(self, images):
        return [self.view(image) for image in images]


class TorchvisionV2Tensor(TorchvisionV2):
    """The same on one uint8 tensor: every image of the batch gets the same operations with the same values."""

    per_image, one_draw = False, ("rand_augment", "standard")
    prepare = staticmethod(lambda images: torch.stack(list(images)))

    def rand_augment(self, images):
        return self.augment(images)

    def standard(self, images):
        return self.view(images)

    rand_augment_jigsaw = None  # torchvision has no JigSaw of tensors


class Kornia:
    """kornia: float images; RandAugment chooses its operations once a batch."""

    per_image, one_draw = False, ("rand_augment", "rand_augment_jigsaw")

    def __init__(self, size):
        import kornia.augmentation as K

        self.prepare = lambda images: torch.stack(list(images)).float() / 255
        policy, jigsaw = K.auto.RandAugment(2, 5), K.RandomJigsaw((4, 4), p=1.0)
        steps = [K.RandomResizedCrop((size, size), (0.2, 1)), K.RandomHorizontalFlip()]
        steps += [K.ColorJiggle(*JITTER, p=0.8), K.RandomGrayscale(p=0.2)]
        steps += [K.RandomGaussianBlur((23, 23), (0.1, 2))] if size >= BLUR_FROM else []
        self.rand_augment, self.standard = policy, torch.nn.Sequential(*steps)
        self.rand_augment_jigsaw = torch.nn.Sequential(policy, jigsaw)


class Albumentations:
    """albumentationsx, which has no RandAugment."""

    per_image, one_draw, prepare = True, (), staticmethod(to_arrays)

    def __init__(self, size):
        import albumentations as A

        steps = [A.RandomResizedCrop((size, size), scale=(0.2, 1)), A.HorizontalFlip()]
        steps += [A.ColorJitter(*[(0.6, 1.4)] * 3, (-0.1, 0.1), p=0.8), A.ToGray(p=0.2)]
        steps += [A.GaussianBlur(sigma_range=(0.1, 2), blur_range=(0, 0))] if size >= BLUR_FROM else []
        self.view = A.Compose(steps)

    def standard(self, images):
        return [self.view(image=image)["image"] for image in images]


class Dali:
    """DALI's CPU operators, fed from memory; its RandAugment mixes operations within a batch."""

    per_image, one_draw, prepare = False, (), staticmethod(to_arrays)

    def __init__(self, size):
        from nvidia.dali import fn, pipeline_def, types
        from nvidia.dali.auto_aug import rand_augment

        @pipeline_def(enable_conditionals=True)
        def policy():
            return rand_augment.rand_augment(fn.external_source(name="images", layout="HWC"), n=2, m=5)

        @pipeline_def(enable_conditionals=True)
        def view():
            x = fn.external_source(name="images", layout="HWC")
            x = fn.random_resized_crop(x, size=(size, size), random_area=(0.2, 1), antialias=True)
            x = fn.flip(x, horizontal=fn.random.coin_flip())
            if fn.random.coin_flip(probability=0.8, dtype=types.BOOL):
                b, c, s = (fn.random.uniform(range=(0.6, 1.4)) for _ in range(3))
                hue = fn.random.uniform(range=(-36.0, 36.0))
                x = fn.color_twist(x, brightness=b, contrast=c, saturation=s, hue=hue)
            if fn.random.coin_flip(probability=0.2, dtype=types.BOOL):
                x = fn.hsv(x, saturation=0.0)
            if size >= BLUR_FROM and fn.random.coin_flip(dtype=types.BOOL):
                x = fn.gaussian_blur(x, sigma=fn.random.uniform(range=(0.1, 2.0)))
            return x

        self.makers, self.built = {"policy": policy, "view": view}, {}

    def _run(self, name, images):
        if name not in self.built:
            threads = max(1, torch.get_num_threads())
            pipeline = self.makers[name](
                batch_size=len(images), num_threads=threads, device_id=None, prefetch_queue_depth=1
            )
            pipeline.build()
            self.built[name] = pipeline
        self.built[name].feed_input("images", images)
        return self.built[name].run()

    def rand_augment(self, images):
        return self._run("policy", images)

    def standard(self, images):
        return self._run("view", images)


PEERS = {
    "Pillow": Pillow,
    "torchvision v2, PIL": TorchvisionV2,
    "torchvision v2, tensor": TorchvisionV2Tensor,
    "kornia": Kornia,
    "albumentationsx": Albumentations,
    "DALI, CPU": Dali,
}
