"""Batches of views. What step s gets depends on the seed and s alone, not on processes, threads or what came before."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dssl_ops import augment

from ..device import memory_format, to_device
from ..distributed import place
from .severity import severity
from .views import view_maker

AHEAD = 2  # steps that are made before they are asked for, where there are workers


class Batch(NamedTuple):
    """views: tensors (B, 3, H, W); severity: (2, B) of v^ and v^' for the variant soft, else None; ids: (B,)."""

    views: list[Tensor]
    severity: Tensor | None
    ids: Tensor


@functools.lru_cache(maxsize=2)
def image_order(seed, epoch, count):
    """The order in which an epoch visits the images: a permutation that depends on nothing else."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


class Loader:
    """`get(step)`: the step's batches, `accumulate` of them, this process's share of each.

    With `workers`, a thread makes them ahead: our engine releases the GIL."""

    def __init__(self, images, config, ranks=None):
        self.images, self.config = images, config
        self.rank, self.processes = place(ranks)
        self.steps_per_epoch = len(images) // config.batch_size  # the last, smaller batch is dropped
        self.views, self.pending = view_maker(config), {}
        self.maker = ThreadPoolExecutor(1, initializer=self.begin_thread) if config.workers else None

    def begin_thread(self):
        torch.set_num_threads(self.config.threads or self.config.workers)

    def get(self, step, last_step):
        if self.maker is None:
            return self.make(step)
        for ahead in range(step, min(step + 1 + AHEAD, last_step)):
            if ahead not in self.pending:
                self.pending[ahead] = self.maker.submit(self.make, ahead)
        return self.pending.pop(step).result()

    def make(self, step):
        epoch, position = divmod(step, self.steps_per_epoch)
        size = self.config.batch_size
        ids = image_order(self.config.seed, epoch, len(self.images))[position * size : (position + 1) * size]
        return [self.batch(part.chunk(self.processes)[self.rank], epoch) for part in ids.chunk(self.config.accumulate)]

    def batch(self, ids, epoch):
        images = to_device(self.images.batch(ids), self.config)
        program = self.views.sample(images, seed=self.config.seed, epoch=epoch, sample_ids=ids)
        views = augment(images, program, table=self.views.normalize.table(3), memory_format=memory_format(self.config))
        soft = to_device(severity(program), self.config) if self.config.variant == "soft" else None
        return Batch(list(views), soft, ids)

    def close(self):
        if self.maker is not None:
            self.maker.shutdown(cancel_futures=True)
