"""Pictures: the curves of one or several runs, and a gallery of views."""

import re
import textwrap

import torch
from matplotlib.figure import Figure

from dssl_ops import augment

from .config import TrainerError
from .views import heavy_policy, view_maker, view_names

COLORS = {"baseline": "#4477aa", "heavy": "#cc6677", "dssl": "#228833", "soft": "#aa3377"}
LABELS = {"baseline": "baseline", "heavy": "w/ T-hat", "dssl": "DSSL", "soft": "soft DSSL"}
PANELS = (("loss", "loss"), ("knn", "kNN on the test set, %"), ("rankme", "effective rank"))


def subtitle(config, dataset):
    """What a figure may never be without: scale, seed, epochs, op set, data."""
    sets = sorted(set(re.findall(r"op_set='(\w+)'", repr(heavy_policy(config)))))
    heavy = f"{config.heavy}{' of ' * bool(sets)}{' and '.join(sets)}"
    steps = f", at most {config.max_steps} steps" if config.max_steps else ""
    run = f"{config.method}-{config.dataset}, scale {config.scale}, seed {config.seed}, {config.epochs} epochs"
    return f"{run}{steps}, heavy: {heavy}; {dataset.about}"


def plot(runs, path, caption, untrained):
    """Loss, kNN and effective rank over epochs. runs: {variant: rows of log.csv}; untrained: kNN."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, (column, label) in zip(axes, PANELS, strict=True):
        for variant, rows in runs.items():
            points = [(row["epoch"], row[column]) for row in rows if column in row]
            marker = "o" if len(points) < 30 else None
            axis.plot(
                *zip(*points, strict=True),
                marker=marker,
                markersize=3,
                color=COLORS[variant],
                label=LABELS[variant],
            )
        axis.set(xlabel="epoch", title=label)
        axis.grid(alpha=0.3)
    axes[1].axhline(untrained, color="grey", linestyle=":", label="random initialisation")
    if alarms := [(row["epoch"], row["knn"]) for rows in runs.values() for row in rows if row.get("alarm")]:
        axes[1].plot(*zip(*alarms, strict=True), "kx", markersize=9, label="collapse alarm")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)
    figure.suptitle(caption, fontsize=7)
    figure.savefig(path, dpi=130)


def gallery(images, config, path, source, rows=6):
    """The first image of each of `rows` classes and its four views, as epoch 0 makes them, with the steps drawn."""
    ids = torch.stack([(images.labels == label).nonzero()[0, 0] for label in images.labels.unique()[:rows]])
    pixels, maker, names = images.batch(ids), view_maker(config, normalized=False), view_names(config)
    try:
        program = maker.sample(pixels, seed=config.seed, epoch=0, sample_ids=ids)
        views = augment(pixels, program)
    except (TypeError, ValueError, RuntimeError) as error:  # such as a grid larger than the side
        raise TrainerError(str(error)) from None
    figure = Figure(figsize=(9, 2.1 * len(ids) + 0.5), layout="constrained")
    axes = figure.subplots(len(ids), 1 + len(names), squeeze=False)
    for row in range(len(ids)):
        show_image(axes[row, 0], pixels[row], "")
        for k, caption in captions(program.steps(row)).items():
            show_image(axes[row, k + 1], views[k][row], caption)
    for axis, name in zip(axes[0], ("image", *names), strict=True):
        axis.set_title(name, fontsize=11)
    figure.suptitle(f"{LABELS[config.variant]}: views of {source}", fontsize=8)
    figure.savefig(path, dpi=130)


def show_image(axis, image, caption):
    axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(textwrap.fill(caption, 30), fontsize=7)


def captions(steps):
    """{view: the steps since the image or the view that it continues}, in words."""
    words, found = [], {}
    for name, values in steps:
        if name == "Emit":
            found[int(values[0])] = ", ".join(words)
        if name in ("Emit", "Source"):
            words = []
        else:
            words.append(f"{name} {values[0]:.3g}" if len(values) in (1, 2) else name)
    return found
