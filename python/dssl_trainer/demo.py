"""`dssl demo`: a gallery of views, then the three variants side by side at toy scale."""

import dataclasses
from pathlib import Path

from . import log
from .data import load
from .device import resolve
from .presets import PRESETS
from .record import subtitle
from .reports.curves import plot
from .reports.gallery import draw_run
from .run import Run
from .train import train_side_by_side
from .variants import LABELS

VARIANTS = ("baseline", "heavy", "dssl")
TOY = dataclasses.replace(
    PRESETS["simsiam-cifar10"]["small"], scale="toy", limit_train=1280, limit_test=1000,
    batch_size=32, epochs=5, knn_k=50, knn_every=1, log_every=10, resume=False,
    threads=1,  # at this size a second thread gains little, and loses much where other programs want the cores
)  # fmt: skip
CAUTION = (
    "Toy scale: {images:,} training images, {steps} steps, one seed, kNN with k = {k}.\n"
    "It shows that everything runs and proves nothing about the methods: here even their order is chance."
)


def demo(data="drawn", out="dssl-demo", max_steps=0, seed=0):
    """Writes gallery.png, plot.png, table.txt and a folder per variant into `out`; prints the table."""
    folder = Path(out)
    base = resolve(dataclasses.replace(TOY, data=data, max_steps=max_steps, seed=seed))
    dataset = load(base)
    runs = [Run(dataclasses.replace(base, variant=name, out=str(folder / name)), dataset) for name in VARIANTS]
    print(f"Data: {dataset.about}.\n{caution(runs[0])}\n", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    draw_run(dataset.train, runs[-1].config, folder / "gallery.png", dataset.source)
    print(f"Gallery of v, v', v^, v^': {folder / 'gallery.png'}\n", flush=True)
    results = dict(zip(VARIANTS, train_side_by_side(runs), strict=True))
    conclude(folder, runs, results)


def caution(run):
    return CAUTION.format(images=len(run.dataset.train), steps=run.last_step, k=run.config.knn_k)


def conclude(folder, runs, results):
    """Table and plot of all three variants."""
    run = runs[-1]
    rows = {name: log.read(folder / name / "log.csv") for name in results}
    plot(rows, folder / "plot.png", subtitle(run.config, run.dataset.about))
    alarmed = {name for name in rows if any(row.get("alarm") for row in rows[name])}
    text = f"{table(results, alarmed)}\n\nData: {run.dataset.about}.\n{caution(run)}\n"
    (folder / "table.txt").write_text(text)
    print(f"\n{text}\nPlot: {folder / 'plot.png'}. Everything else: {folder.resolve()}")


def table(results, alarmed):
    """A line per variant, marked where the collapse alarm rose, below them the untrained encoder."""
    heading = f"{'variant':24}{'kNN %':>8}{'eff. rank':>11}{'std':>7}{'loss':>9}{'views/s':>9}"
    lines = [heading, "-" * len(heading)]
    for name, row in results.items():
        lines.append(f"{LABELS[name]:24}{row['knn']:8.1f}{row['rankme']:11.1f}{row['std']:7.2f}"
                     f"{row['loss']:9.3f}{row['views_per_second']:9.0f}"
                     f"{'  collapse alarm' if name in alarmed else ''}")  # fmt: skip
    untrained = next(iter(results.values()))["random_knn"]
    return "\n".join([*lines, f"{'random initialisation':24}{untrained:8.1f}"])
