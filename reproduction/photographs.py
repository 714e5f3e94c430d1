"""The ImageNet path at toy scale: a few steps of every method and variant on a zip of photographs, and their times.

    python reproduction/photographs.py PHOTOS.zip --scale small
    python reproduction/photographs.py PHOTOS.zip --scale full --batch-size 8 --images 16 --steps 3 --variants dssl

The zip holds <class>/<photograph>. Each run has its recipe's networks, views and optimiser, on an ImageFolder tree in a
temporary folder; two threads decode and make views while the network computes. Writes photographs-<scale>.csv beside
this file: milliseconds per step, of these the wait for views, and CPU time of all threads, medians over the steps after
the first. It shows that the path works and what it costs here.
"""

import argparse
import csv
import dataclasses
import math
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

from dssl_trainer.data import load
from dssl_trainer.data.loader import Loader
from dssl_trainer.device import resolve, threads
from dssl_trainer.learner import Learner
from dssl_trainer.presets import PRESETS
from dssl_trainer.variants import view_names

METHODS, VARIANTS = ("simsiam", "byol", "simclr", "mocov2", "barlow"), ("baseline", "heavy", "dssl", "soft")
COLUMNS = (
    "method",
    "variant",
    "encoder",
    "side",
    "batch",
    "views",
    "precision",
    "threads",
    "steps",
    "step_ms",
    "wait_ms",
    "cpu_ms",
)


def main():
    options = arguments()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        tree = unpack(options.photographs, Path(scratch) / "photographs", options.images)
        for method in METHODS:
            for variant in options.variants:
                rows.append(measure(method, variant, tree, options))
                print(*rows[-1], flush=True)
    with open(Path(__file__).parent / f"photographs-{options.scale}.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs")
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=250)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def unpack(archive, tree, count):
    """train/<class>/ with `count` photographs, and the first 16 of them again as val/."""
    with zipfile.ZipFile(archive) as photographs:
        members = sorted(name for name in photographs.namelist() if name.lower().endswith((".jpeg", ".jpg")))[:count]
        for number, name in enumerate(members):
            for split in ("train", "val")[: 1 + (number < 16)]:
                target = tree / split / Path(name).parent.name / Path(name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(photographs.read(name))
    return tree


def measure(method, variant, tree, options):
    preset = PRESETS[f"{method}-imagenet"][options.scale]
    config = resolve(dataclasses.replace(
        preset, variant=variant, data=str(tree), batch_size=options.batch_size, workers=2, threads=options.threads,
        device="cpu"))  # fmt: skip
    with threads(config.threads):
        loader = Loader(load(config).train, config)
        learner = Learner(config, loader.steps_per_epoch)
        times = [step(loader, learner, number, options.steps) for number in range(options.steps)][1:]
        loader.close()
    medians = [f"{1000 * statistics.median(column):.0f}" for column in zip(*times)]
    return (method, variant, config.encoder, config.image_size, config.batch_size, len(view_names(config)),
            config.precision, options.threads, len(times), *medians)  # fmt: skip


def step(loader, learner, number, last):
    """(seconds, of these the wait for views, CPU seconds of all threads)."""
    start, cpu = time.perf_counter(), time.process_time()
    batches = loader.get(number, last)
    waited = time.perf_counter() - start
    loss = learner.step(batches, number).loss
    assert math.isfinite(loss), loss
    return time.perf_counter() - start, waited, time.process_time() - cpu


if __name__ == "__main__":
    main()
