"""The peers of bench_augment.py. Each is a class with a method a policy, which maps prepared images to views, and lacks
those it cannot do; making one raises ImportError where its package is missing.

Images are uint8 (3, H, W) tensors, PIL images or (H, W, 3) arrays, whatever the peer likes best, made before the clock
runs; views are what it gives by itself. `per_image`: a call works on one core through Python, image by image.
`one_draw`: the policies in which all images of a batch get the same operations, which does not serve for training.
"""

import numpy as np
import torch

from . import authors_recipe as recipe
from .authors_recipe import BLUR_FROM, JITTER, JITTER_BYOL, MEAN, STD, shuffle_tiles, stacked, to_pil
from .harness import Skip


class Pillow:
    """The authors' recipe."""

    package, per_image, one_draw, prepare = "pillow", True, (), staticmethod(to_pil)

    def __init__(self, size):
        self.recipe = recipe.Recipe(size)

    def rand_augment(self, images):
        return [recipe.rand_augment(image) for image in images]

    def rand_augment_jigsaw(self, images):
        return [recipe.heavy(image) for image in images]

    def uniform_augment(self, images):
        return [recipe.uniform_augment(image) for image in images]

    def choice(self, images):
        return [recipe.choice(image) for image in images]

    def standard(self, images):
        return [self.recipe.standard(image) for image in images]

    def byol(self, images):
        return [[view(image) for view in self.recipe.byol] for image in images]

    def directed(self, images):
        return stacked([self.recipe.four(image) for image in images])


class TorchvisionV2:
    """torchvision.transforms.v2 of PIL images; its RandAugment draws from torchvision's own 14 operations."""

    package, per_image, one_draw, prepare = "torchvision", True, (), staticmethod(to_pil)

    def __init__(self, size):
        from torchvision.transforms import v2

        def view(scale, jitter, blur, solarize=0.0, **crop):
            steps = [v2.RandomResizedCrop(size, scale, antialias=True, **crop), v2.RandomHorizontalFlip()]
            steps += [v2.RandomApply([v2.ColorJitter(*jitter)], p=0.8), v2.RandomGrayscale(0.2)]
            steps += [v2.RandomApply([v2.GaussianBlur(size // 20 * 2 + 1, (0.1, 2))], p=blur)] if blur else []
            return v2.Compose([*steps, *([v2.RandomSolarize(128, solarize)] if solarize else [])])

        bicubic = {"interpolation": v2.InterpolationMode.BICUBIC}
        self.view, self.augment = view((0.2, 1), JITTER, 0.5 if size >= BLUR_FROM else 0), v2.RandAugment(2, 5)
        self.pair = [view((0.08, 1), JITTER_BYOL, *rare, **bicubic) for rare in ((1.0, 0.0), (0.1, 0.2))]
        self.tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    def rand_augment(self, images):
        return [self.augment(image) for image in images]

    def rand_augment_jigsaw(self, images):
        return [shuffle_tiles(self.augment(image)) for image in images]

    def standard(self, images):
        return [self.view(image) for image in images]

    def byol(self, images):
        return [[view(image) for view in self.pair] for image in images]

    def directed(self, images):
        return stacked([[self.tensor(view) for view in self.four(image)] for image in images])

    def four(self, image):
        pair = self.view(image), self.view(image)
        return (*pair, *(shuffle_tiles(self.augment(view)) for view in pair))


class TorchvisionV2Tensor(TorchvisionV2):
    """The same on uint8 tensors, one by one."""

    prepare = staticmethod(list)
    rand_augment_jigsaw = directed = None  # torchvision has no JigSaw of tensors


class TorchvisionV2Batch(TorchvisionV2Tensor):
    """The same on one uint8 tensor: every image of the batch gets the same operations with the same values."""

    per_image, one_draw = False, ("rand_augment", "standard", "byol")

    @staticmethod
    def prepare(images):
        return torch.stack(list(images))

    def rand_augment(self, images):
        return self.augment(images)

    def standard(self, images):
        return self.view(images)

    def byol(self, images):
        return [view(images) for view in self.pair]


class Kornia:
    """kornia: float images; RandAugment chooses its operations once a batch."""

    package, per_image, one_draw = "kornia", False, ("rand_augment", "rand_augment_jigsaw")

    def __init__(self, size):
        import kornia.augmentation as K

        def view(scale, jitter, blur, solarize=0.0):
            steps = [K.RandomResizedCrop((size, size), scale), K.RandomHorizontalFlip()]
            steps += [K.ColorJiggle(*jitter, p=0.8), K.RandomGrayscale(p=0.2)]
            steps += [K.RandomGaussianBlur((size // 20 * 2 + 1,) * 2, (0.1, 2), p=blur)] if blur else []
            return torch.nn.Sequential(*steps, *([K.RandomSolarize(p=solarize)] if solarize else []))

        policy = K.auto.RandAugment(2, 5)
        self.rand_augment, self.standard = policy, view((0.2, 1), JITTER, 0.5 if size >= BLUR_FROM else 0)
        self.rand_augment_jigsaw = torch.nn.Sequential(policy, K.RandomJigsaw((4, 4), p=1.0))
        self.pair = [view((0.08, 1), JITTER_BYOL, *rare) for rare in ((1.0, 0.0), (0.1, 0.2))]

    @staticmethod
    def prepare(images):
        return torch.stack(list(images)).float() / 255

    def byol(self, images):
        return [view(images) for view in self.pair]


class Albumentations:
    """albumentationsx, which has no RandAugment."""

    package, per_image, one_draw = "albumentationsx", True, ()

    def __init__(self, size):
        import albumentations as A
        import cv2

        cv2.setNumThreads(1)  # OpenCV has threads of its own: a peer that counts as one core must stay on one

        def view(scale, jitter, blur, solarize=0.0, **crop):
            *factors, hue = jitter
            steps = [A.RandomResizedCrop((size, size), scale=scale, **crop), A.HorizontalFlip()]
            steps += [A.ColorJitter(*[(1 - f, 1 + f) for f in factors], (-hue, hue), p=0.8), A.ToGray(p=0.2)]
            steps += [A.GaussianBlur(sigma_range=(0.1, 2), blur_range=(0, 0), p=blur)] if blur else []
            return A.Compose([*steps, *([A.Solarize(p=solarize)] if solarize else [])])

        bicubic = {"interpolation": 2}  # OpenCV's INTER_CUBIC
        self.view = view((0.2, 1), JITTER, 0.5 if size >= BLUR_FROM else 0)
        self.pair = [view((0.08, 1), JITTER_BYOL, *rare, **bicubic) for rare in ((1.0, 0.0), (0.1, 0.2))]

    @staticmethod
    def prepare(images):
        return [np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]

    def standard(self, images):
        return [self.view(image=image)["image"] for image in images]

    def byol(self, images):
        return [[view(image=image)["image"] for view in self.pair] for image in images]


class Dali:
    """DALI's CPU operators, fed from memory; its RandAugment mixes operations within a batch."""

    package, per_image, one_draw, prepare = "nvidia-dali-cuda120", False, (), staticmethod(Albumentations.prepare)

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


class TritonAugment:
    """triton-augment on CUDA: affine, crop, flip, jitter and grey in one kernel, no resize and no hue."""

    package, per_image, one_draw = "triton-augment", False, ()

    def __init__(self, size):
        if not torch.cuda.is_available():
            raise Skip("needs CUDA")
        import triton_augment

        self.standard = triton_augment.TritonFusedAugment(
            crop_size=size, horizontal_flip_p=0.5, brightness=0.4, contrast=0.4, saturation=0.4, grayscale_p=0.2
        )

    @staticmethod
    def prepare(images):
        return torch.stack(list(images)).float() / 255


PEERS = {
    "Pillow": Pillow,
    "torchvision v2, PIL": TorchvisionV2,
    "torchvision v2, tensor": TorchvisionV2Tensor,
    "torchvision v2, batch": TorchvisionV2Batch,
    "kornia": Kornia,
    "albumentationsx": Albumentations,
    "DALI, CPU": Dali,
    "triton-augment": TritonAugment,
}
