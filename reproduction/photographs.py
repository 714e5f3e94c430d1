"""The ImageNet path at toy scale: a few steps of every method and variant on a zip of photographs, and their times.

    python reproduction/photographs.py PHOTOS.zip --scale small
    python reproduction/photographs.py PHOTOS.zip --scale full --batch-size 16 --images 48

The zip holds <class>/<photograph>. Each run is `dssl train METHOD-imagenet` with the recipe's own networks, views and
optimiser on an ImageFolder tree in a temporary folder; images are decoded while the network computes. Writes
photographs-<scale>.csv beside this file: milliseconds per step, and of these the wait for views (medians over the steps
after the first). It measures that the path works and what it costs here: accuracies mean nothing.
"""

import argparse
import csv
import dataclasses
import statistics
import tempfile
import zipfile
from pathlib import Path

import torch
from dssl_trainer import log
from dssl_trainer.presets import PRESETS
from dssl_trainer.train import train
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
)


def main():
    options = arguments()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        tree = unpack(options.photographs, Path(scratch) / "photographs", options.images)
        for method in METHODS:
            for variant in VARIANTS:
                rows.append(measure(method, variant, tree, Path(scratch), options))
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


def measure(method, variant, tree, scratch, options):
    preset, out = PRESETS[f"{method}-imagenet"][options.scale], scratch / method / variant
    config = dataclasses.replace(
        preset, variant=variant, data=str(tree), out=str(out), batch_size=options.batch_size, max_steps=options.steps,
        workers=2, threads=options.threads, log_every=1, knn_k=5, knn_limit=16, knn_every=1000,
    )  # fmt: skip
    train(config)
    rows = [row for row in log.read(out / "log.csv") if "images_per_second" in row][1:]
    steps = [1000 * config.batch_size / row["images_per_second"] for row in rows]
    waits = [row["data_share"] * step for row, step in zip(rows, steps)]
    precision = "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") and config.precision == "auto" else "fp32"
    return (method, variant, config.encoder, config.image_size, config.batch_size, len(view_names(config)), precision,
            options.threads, len(rows), *(f"{statistics.median(times):.0f}" for times in (steps, waits)))  # fmt: skip


if __name__ == "__main__":
    main()
