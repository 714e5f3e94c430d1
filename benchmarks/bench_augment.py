"""Views a second of the augmentation engine and of every peer at hand; microseconds of every step beside a plain copy.

    python -m benchmarks.bench_augment [--sizes 32 224] [--threads 2] [--rounds 10] [--quick] [--cpu-time] [--no-peers]
                                       [--photos FOLDER_OR_ZIP]

First ours must equal the reference, bit for bit. Then all take turns; drawing counts. The mean over the rounds is
compared, since some peers draw once for a whole batch and a lucky draw is cheap; the CSV has the quantiles. Those are
marked: training needs a draw an image, so ours is set beside the best peer that does that, and beside the best of all.
Peers that work image by image in Python run on one core and are counted at --threads times that, as so many processes
would do; who needs more than --seconds for all rounds gets fewer, at least three. DirectedViews of 224 pixels starts
from photographs of differing sizes, for us and for Pillow: those of --photos, decoded before the clock runs, or drawn.
"""

import argparse
import os
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from benchmarks.augment_peers import BLUR_FROM, MEAN, PEERS, STD
from benchmarks.harness import append
from dssl_ops import augment, augment_reference
from dssl_ops.program import OPCODES, Program
from dssl_ops.transforms import Compose, DirectedViews, Jigsaw, Normalize, RandAugment, StandardView

PHOTO = (375, 500)  # ImageNet's most common size: where the views of 224 pixels are cropped from
ONE_DRAW = " (one draw a batch)"
ROTATION = tuple(np.random.default_rng(0).permutation(16))
NEAREST, BILINEAR, BICUBIC = 0, 2, 3
STEPS = {
    "Identity": (), "AutoContrast": (), "Equalize": (), "Invert": (), "Grayscale": (), "HorizontalFlip": (),
    "Posterize": (1,), "Solarize": (256 / 6,), "SolarizeAdd": (110 / 6,), "Brightness": (0.4,), "Contrast": (0.4,),
    "Color": (0.4,), "Sharpness": (0.4,), "Hue": (0.05,), "Rotate": (5, NEAREST), "Rotate bilinear": (5, BILINEAR),
    "Rotate bicubic": (5, BICUBIC), "ShearX": (0.05, NEAREST), "ShearY": (0.05, NEAREST),
    "TranslateX": (100 / 6, NEAREST), "TranslateY": (100 / 6, NEAREST), "Cutout": (3, 3, 9, 9), "GaussianBlur": (1.0,),
    "Jigsaw": ROTATION,
}  # fmt: skip


def scenes(count, height, width):
    """uint8 (count, 3, height, width): soft fields with a little noise, so that no step meets a flat image."""
    field = F.interpolate(torch.rand(count, 3, 6, 6), (height, width), mode="bicubic").clamp(0, 1)
    return (field * 235 + torch.rand(count, 3, height, width) * 20).to(torch.uint8)


def drawn_photos(count):
    """uint8 (3, H, W) of sizes about PHOTO, every other one upright."""
    sides = np.random.default_rng(0).uniform(0.7, 1.4, (count, 2)) * PHOTO
    return [scenes(1, *map(int, side[:: 1 if i % 2 else -1]))[0] for i, side in enumerate(sides)]


def photos(place, count):
    """`count` images of a folder or zip file, spread over its names."""
    archive = zipfile.ZipFile(place) if Path(place).is_file() else None
    names = archive.namelist() if archive else [str(path) for path in Path(place).rglob("*")]
    names = sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png")))
    if not names:
        raise SystemExit(f"--photos: there are no photographs in {place}")
    chosen = (names[i * len(names) // count] for i in range(count))
    decoded = (Image.open(archive.open(name) if archive else name).convert("RGB") for name in chosen)
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous() for image in decoded]


class Implementation(NamedTuple):
    run: Callable  # without arguments
    one_core: bool = False


def pipelines(size):
    """Ours; the names are those of the peers' methods."""
    standard = StandardView.imagenet(size) if size >= BLUR_FROM else StandardView.cifar10(size)
    policy, heavy = RandAugment(2, 5), Compose((RandAugment(2, 5), Jigsaw(4)))
    return {
        "rand_augment": policy,
        "rand_augment_jigsaw": heavy,
        "standard": standard,
        "directed": DirectedViews(standard, heavy, Normalize(MEAN, STD)),
    }


def require_equal(what, images, program):
    if not torch.equal(augment(images, program), augment_reference(images, program)):
        raise SystemExit(f"{what}: ours differs from the reference; nothing is timed")


def implementations(name, transform, images, size, with_peers):
    """By name: ours, the peers, a copy."""
    epochs = iter(range(1 << 30))  # fresh draws at every call
    found = {"dssl_ops": Implementation(lambda: transform(images, seed=0, epoch=next(epochs)))}
    for peer, make in PEERS.items() if with_peers else ():
        try:
            made = make(size)
        except ImportError as error:
            print(f"{peer} is left out: {error}".splitlines()[0])
            continue
        if run := getattr(made, name, None):
            prepared, mark = made.prepare(images), ONE_DRAW if name in made.one_draw else ""
            found[peer + mark] = Implementation(lambda run=run, prepared=prepared: run(prepared), made.per_image)
        else:
            print(f"{peer} has no {name}")
    whole = torch.is_tensor(images)
    return found | {"copy": Implementation(images.clone if whole else lambda: [image.clone() for image in images])}


def in_turns(found, options):
    """Seconds of the first call and of each round."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    times = {name: [] for name in found}
    for _ in range(options.rounds + 1):
        for name, (run, one_core) in found.items():
            if len(times[name]) > 3 and sum(times[name]) > options.seconds:
                continue
            torch.set_num_threads(1 if one_core else options.threads)
            start = clock()
            run()
            times[name].append(clock() - start)
    torch.set_num_threads(options.threads)
    return {name: (measured[0], measured[1:]) for name, measured in times.items()}


def record(times, what, shape, found, threads, load):
    """Rows of the CSV."""
    for name, (first, measured) in times.items():
        figures = [first, *np.quantile(measured, (0.5, 0.2, 0.8))]
        used = 1 if found[name].one_core else threads
        milliseconds = [f"{figure * 1e3:.3f}" for figure in figures]
        append("augment", [name, f"{what} {shape}", "uint8", *milliseconds, len(measured), used, f"{load:.1f}"])


def compare_pipelines(size, options):
    for name, transform in pipelines(size).items():
        load, count = os.getloadavg()[0], options.batch[size]
        images, shape = scenes(count, size, size), f"{count}x3x{size}x{size}"
        if name == "directed" and size >= BLUR_FROM:
            images = photos(options.photos, count) if options.photos else drawn_photos(count)
            shape = f"{size} from {count} {'' if options.photos else 'drawn '}photographs"
        few = images[: 4 if size >= BLUR_FROM else 32]
        require_equal(f"{name} at {size}", few, transform.sample(few, seed=1))
        found = implementations(name, transform, images, size, options.peers)
        times = in_turns(found, options)
        record(times, name, shape, found, options.threads, load)
        cores = {peer: options.threads if found[peer].one_core or options.cpu_time else 1 for peer in found}
        print_rates(
            f"{name} {shape}", {peer: count / np.mean(times[peer][1]) * cores[peer] for peer in found}, found, options
        )


def print_rates(title, rates, found, options):
    ours = rates.pop("dssl_ops")
    print(f"\n{title}, images a second: dssl_ops {ours:,.0f}")
    peers = [peer for peer in rates if peer != "copy"]
    fair = [peer for peer in peers if not peer.endswith(ONE_DRAW)]
    for kind, group in (("the best peer with a draw an image", fair), ("the best of all", peers)):
        if group:
            best = max(group, key=rates.get)
            print(f"    {ours / rates[best]:.1f} times {kind}: {best}")
    for peer, rate in sorted(rates.items(), key=lambda item: -item[1]):
        twice = f"  ({options.threads} times one core)" if found[peer].one_core else ""
        print(f"    {peer:44}{rate:14,.0f}   ours / it {ours / rate:8.2f}{twice}")


def one_step(name, values, count, size):
    """A program for `count` images: the one step, then Emit."""
    row = torch.tensor([*map(float, values), 0.0], dtype=torch.float64)
    lengths = torch.tensor([0, *[len(values), 1] * count])
    opcodes = torch.tensor([OPCODES[name], OPCODES["Emit"]], dtype=torch.int32).repeat(count)
    return Program(opcodes, torch.arange(count + 1) * 2, row.repeat(count), lengths.cumsum(0), 1, *size)


def compare_steps(size, options):
    print(f"\nSteps at {size} px: microseconds an image, and beside a plain copy of the batch")
    load, count = os.getloadavg()[0], options.batch[size]
    photo = PHOTO if size >= BLUR_FROM else (size, size)
    crop = (0, 0, photo[0] * 4 // 5, photo[1] * 4 // 5, size, size)
    rows = [(name, name.split()[0], values, (size, size)) for name, values in STEPS.items()]
    rows += [(f"ResizedCrop {name}", "ResizedCrop", (*crop, number, 13), photo)
             for name, number in (("bilinear", BILINEAR), ("bicubic", BICUBIC))]  # fmt: skip
    for what, name, values, source in rows:
        images = scenes(count, *source)
        program = one_step(name, values, count, (size, size))
        require_equal(what, images[:8], one_step(name, values, 8, (size, size)))
        found = {what: Implementation(lambda images=images, program=program: augment(images, program))}
        found["copy"] = Implementation(found[what].run().clone)
        times = in_turns(found, options)
        record({what: times[what]}, "step", "x".join(map(str, images.shape)), found, options.threads, load)
        ours, copy = (np.median(times[key][1]) / count * 1e6 for key in (what, "copy"))
        print(f"    {what:24}{ours:10.2f}{ours / copy:8.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=4.0, help="for all rounds of one implementation")
    parser.add_argument("--photos", metavar="FOLDER_OR_ZIP")
    parser.add_argument("--quick", action="store_true", help="an eighth of the batch, three rounds")
    parser.add_argument(
        "--cpu-time", action="store_true", help="processor time instead of the clock, for a busy machine"
    )
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    options = parser.parse_args()
    options.batch = {size: (512 if size < BLUR_FROM else 64) // (8 if options.quick else 1) for size in options.sizes}
    options.rounds = 3 if options.quick else options.rounds
    warnings.filterwarnings("ignore")  # the peers'
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    for size in options.sizes:
        compare_pipelines(size, options)
        compare_steps(size, options)


if __name__ == "__main__":
    main()
