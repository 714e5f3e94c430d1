"""A whole SimSiam-DSSL step of the trainer: our views and loss against the authors' recipe in Pillow and an eager loss.

Both are the trainer's own Loader and Learner, with the same network, batches and optimiser; the switch is which loader
and which loss. They take turns step by step. The recipe's views are made by as many processes as we use threads, while
this process waits, so both have all processors for views and all for the network. Images are in memory.

Besides the whole step ("step") there is a row for each part: views, forward (without the loss), loss (its forward),
backward with all else, and the optimiser's step.
"""

import dataclasses
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from unittest.mock import patch

import torch
import torch.multiprocessing
from dssl_trainer.data.dataset import Images
from dssl_trainer.data.drawn import draw
from dssl_trainer.data.loader import Batch, Loader
from dssl_trainer.device import memory_format, resolve
from dssl_trainer.learner import Learner
from dssl_trainer.presets import PRESETS

from dssl_ops import directional_loss

from . import rows
from .authors_recipe import Recipe, stacked, to_pil
from .bench_directional_loss import dense
from .pictures import photographs

PARTS = ("views", "forward", "loss", "backward", "optimizer")
STEPS = 20  # times the seconds of an implementation, for both sides
OURS, PEER = "dssl_ops", "Pillow views, eager loss"


def eager_loss(predictions, targets, graph, weights):
    return dense(*predictions, *targets[:2])  # the others are nobody's targets


def begin_process(size):
    global recipe
    torch.set_num_threads(1)
    recipe = Recipe(size)


def recipe_views(images):
    return stacked([recipe.four(image) for image in to_pil(images)])


class RecipeLoader(Loader):
    """The trainer's loader with the authors' views, made by `processes` processes."""

    def __init__(self, images, config, processes):
        super().__init__(images, config)
        spawn = torch.multiprocessing.get_context("spawn")
        self.pool = spawn.Pool(processes, begin_process, (config.image_size,))

    def batch(self, ids, epoch):
        images, count = self.images.batch(ids), self.pool._processes
        shares = [[image.clone() for image in images[k::count]] for k in range(count)]
        views = [torch.cat(parts) for parts in zip(*self.pool.map(recipe_views, shares, chunksize=1))]
        where = {"device": self.config.device, "memory_format": memory_format(self.config), "non_blocking": True}
        pinned = [view.pin_memory() if torch.cuda.is_available() else view for view in views]
        return Batch([view.to(**where) for view in pinned], None, ids)

    def close(self):
        self.pool.terminate()


class Photographs(Images):
    """Images of differing sizes."""

    def batch(self, ids):
        return [self.pixels[i] for i in ids.tolist()]


class Stopwatch:
    """Milliseconds that functions take, by name; `wrap` gives the function that is clocked."""

    def __init__(self, synchronize):
        self.spent, self.synchronize = defaultdict(float), synchronize

    def wrap(self, name, function):
        def clocked(*given, **named):
            self.synchronize()
            start = time.perf_counter()
            result = function(*given, **named)
            self.synchronize()
            self.spent[name] += (time.perf_counter() - start) * 1e3
            return result

        return clocked


class Side:
    """One of the two trainers and its stopwatch."""

    def __init__(self, config, images, loss, loader):
        self.config, self.loader = config, loader
        self.learner = Learner(config, 1000)
        cuda = torch.device(config.device).type == "cuda"
        self.watch = Stopwatch(torch.cuda.synchronize if cuda else lambda: None)
        self.get, self.learn = (self.watch.wrap(*of) for of in (("views", loader.make), ("learn", self.learner.step)))
        self.loss = self.watch.wrap("loss", loss)
        self.learner.model = self.watch.wrap("forward", self.learner.model)
        self.learner.optimizer.step = self.watch.wrap("optimizer", self.learner.optimizer.step)

    def step(self, number):
        """Milliseconds of each part, and the loss."""
        self.watch.spent.clear()
        with patch("dssl_trainer.methods.simsiam.directional_loss", self.loss):
            outcome = self.learn(self.get(number % self.loader.steps_per_epoch), number)
        spent = dict(self.watch.spent)
        spent["backward"] = spent["learn"] - spent["forward"] - spent["optimizer"]
        spent["forward"] -= spent["loss"]
        return {name: spent[name] for name in PARTS}, outcome.loss


@dataclass
class Training:
    """Both sides at one image size."""

    preset: str
    images: object
    size: int
    batch: int
    device: str

    @property
    def title(self):
        return f"training {self.shape}"

    @property
    def shape(self):
        return f"{self.preset}, scale small, {self.size} px, batch {self.batch}"

    def config(self):
        changes = dict(data="drawn", variant="dssl", image_size=self.size, batch_size=self.batch, device=self.device)
        small = dataclasses.replace(PRESETS[self.preset]["small"], workers=0, warmup_epochs=0, **changes)
        return resolve(small)

    def key(self, device):
        return ("training", "step", self.shape, self.config().precision, device)

    def measure(self, machine, limits, effort, say=print):
        load, config, images = os.getloadavg()[0], self.config(), self.images(self.batch)
        loaders = {OURS: Loader(images, config), PEER: RecipeLoader(images, config, machine.threads)}
        losses = {OURS: directional_loss, PEER: eager_loss}
        sides = {name: Side(config, images, losses[name], loader) for name, loader in loaders.items()}
        try:
            require_equal_losses(sides)
            spent = in_turns(sides, effort)
        finally:
            for loader in loaders.values():
                loader.close()
        return [row for name in sides for row in self.rows(machine, name, spent[name], load)]

    def rows(self, machine, name, spent, load):
        what = dict(zip(rows.case_columns(), self.key(machine.device))) | {"impl": name, "items": self.batch}
        what |= {"version": rows.version("dssl_ops" if name == OURS else "pillow"), "rounds": len(spent)}
        what |= {"threads": machine.threads, "load": load, "hardware": machine.hardware}
        yield rows.stamp(what, [sum(parts.values()) for parts in spent])
        for part in PARTS:
            yield rows.stamp(what | {"mode": part}, [parts[part] for parts in spent])


def in_turns(sides, effort):
    """Milliseconds of the parts of every step, the first two of each side not counted."""
    spent, start = {name: [] for name in sides}, time.perf_counter()
    for number in range(2 + effort.rounds):
        if number >= 2 + effort.least and time.perf_counter() - start > STEPS * effort.seconds:
            break
        for name, side in sides.items():
            spent[name].append(side.step(number)[0])
    return {name: steps[2:] for name, steps in spent.items()}


def require_equal_losses(sides):
    """Both losses of the same views and weights agree, or SystemExit.

    They lie within -2 and 2; the eager one is as exact as the predictions, which may be bfloat16."""
    batches = sides[OURS].loader.make(0)
    with torch.random.fork_rng():
        values = []
        for side in sides.values():
            with patch("dssl_trainer.methods.simsiam.directional_loss", side.loss):
                values.append(side.learner.step(batches, 0).loss)
    if not abs(values[0] - values[1]) <= 1e-2:
        raise SystemExit(f"training: the losses differ, {values[0]} and {values[1]}; nothing is timed")


def small_images(batch):
    pixels, labels = draw(10 * batch, seed=0)
    return Images(pixels, labels)


def large_images(batch):
    found = photographs(2 * batch)
    return Photographs(found, torch.zeros(len(found), dtype=torch.int64))


def cases(device, full):
    yield Training("simsiam-cifar10", small_images, 32, 128, device)
    if full:
        yield Training("simsiam-imagenet", large_images, 224, 16, device)
