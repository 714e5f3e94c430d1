"""Pictures: the curves of one or several runs, and a gallery of views."""

import re
import textwrap

import torch
from matplotlib.figure import Figure

from dssl_ops import augment

from .config import TrainerError
from .page import escape, write
from .views import heavy_policy, view_maker, view_names

COLORS = {"baseline": "#4477aa", "heavy": "#cc6677", "dssl": "#228833", "soft": "#aa3377"}
LABELS = {"baseline": "baseline", "heavy": "w/ T-hat", "dssl": "DSSL", "soft": "soft DSSL"}
PALETTE = ("#4477aa", "#cc6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#bbbbbb", "#222222")
PANELS = (  # title, and the columns of log.csv that it shows with their line styles
    ("loss", {"loss": "-"}),
    ("kNN on the test set, %", {"knn": "-"}),
    ("effective rank of the backbone (RankMe)", {"rankme": "-"}),
    ("std of backbone features (1: isotropic, 0: collapsed)", {"std": "-"}),
    ("cosine: standard views -, standard-heavy --, heavy :", {"sv_sv": "-", "sv_hv": "--", "hv_hv": ":"}),
)


def subtitle(config, about):
    """What a figure may never be without: scale, seed, epochs, op set, data (a line about them)."""
    sets = sorted(set(re.findall(r"op_set='(\w+)'", repr(heavy_policy(config)))))
    heavy = f"{config.heavy}{' of ' * bool(sets)}{' and '.join(sets)}"
    steps = f", at most {config.max_steps} steps" if config.max_steps else ""
    run = f"{config.method}-{config.dataset}, scale {config.scale}, seed {config.seed}, {config.epochs} epochs"
    return f"{run}{steps}, heavy: {heavy}; {about}"


def plot(runs, path, caption):
    """Writes the curves of runs, {variant or name: rows of log.csv}, as png, pdf or svg."""
    write(curves(runs, caption), path)


def curves(runs, caption):
    """A Figure of loss, kNN, rank, spread and cosines over epochs; rows may lack any column."""
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    *axes, corner = figure.subplots(2, 3).flat
    for axis, (title, columns) in zip(axes, PANELS, strict=True):
        for number, (name, rows) in enumerate(runs.items()):
            color = COLORS.get(name, PALETTE[number % len(PALETTE)])
            for column, style in columns.items():
                draw_curve(axis, rows, column, style, color, LABELS.get(name, escape(name)))
        axis.set(xlabel="epoch")
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
    draw_marks(axes[1], runs)
    corner.axis("off")
    corner.legend(*axes[1].get_legend_handles_labels(), loc="center", fontsize=8, frameon=False)
    figure.suptitle("\n".join(textwrap.fill(line, 200) for line in escape(caption).split("\n")), fontsize=7)
    return figure


def draw_curve(axis, rows, column, style, color, label):
    points = [(row["epoch"], row[column]) for row in rows if column in row]
    if points:
        marker = "o" if len(points) < 30 else None
        axis.plot(*zip(*points, strict=True), style, marker=marker, markersize=3, color=color, label=label)


def draw_marks(axis, runs):
    """What kNN has to beat, and where the collapse alarm rose."""
    for rows in runs.values():
        if rows and rows[0].get("step") == 0 and "knn" in rows[0]:
            known = "random initialisation" in axis.get_legend_handles_labels()[1]
            label = None if known else "random initialisation"
            axis.axhline(rows[0]["knn"], color="grey", linestyle=":", label=label)
    if alarms := [(row["epoch"], row["knn"]) for rows in runs.values() for row in rows if row.get("alarm")]:
        axis.plot(*zip(*alarms, strict=True), "kx", markersize=9, label="collapse alarm")


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
    write(figure, path)


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
