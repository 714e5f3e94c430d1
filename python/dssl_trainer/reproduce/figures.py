"""Curves of an experiment: kNN over epochs (Fig. 1 right), and accuracy over delta (Fig. 5)."""

import collections
import statistics

from matplotlib.figure import Figure

from ..device import kind
from ..reports.curves import COLORS, PALETTE
from .results import by_cell, curve, result

CROWD = 6  # cells: more bands hide each other, and a longer legend hides the curves
STYLES = {"baseline": "-.", "heavy": "--", "dssl": "-", "soft": ":"}


def figure(experiment, steps, caption):
    """A Figure, or None where no run has been evaluated."""
    drawn = [one for one in steps if one.kept and curve(one.kept.rows)]
    if not drawn:
        return None
    recipes = list(dict.fromkeys(one.job.cell.recipe for one in drawn))
    finished = [one for one in drawn if one.state == "finished"]
    delta = experiment == "fig5" and len({one.job.config.delta for one in finished}) > 1
    crowd = crowded(drawn)
    width = 6.2 + 1.8 * bool(crowd)
    page = Figure(figsize=(width * len(recipes) + 6.2 * delta, 4.6), layout="constrained")
    axes = page.subplots(1, len(recipes) + delta, squeeze=False)[0]
    for axis, recipe in zip(axes, recipes):
        knn_over_epochs(axis, [one for one in drawn if one.job.cell.recipe == recipe], recipe, recipe in crowd)
    if delta:
        accuracy_over_delta(axes[-1], finished)
    page.suptitle(caption, fontsize=8)
    return page


def crowded(steps):
    """The recipes with more cells than one can tell apart."""
    counts = collections.Counter(ours[0].job.cell.recipe for ours in by_cell(steps).values())
    return {recipe for recipe, count in counts.items() if count > CROWD}


def of_line(steps):
    """The runs of a cell that its line is the mean of: an unfinished seed would cut it short."""
    return [one for one in steps if one.state == "finished"] or steps


def knn_over_epochs(axis, steps, title, crowd):
    """A line per cell: the mean over seeds, and but for a crowd of them a band from the lowest to the highest."""
    colour = colours(steps)
    for label, ours in by_cell(steps).items():
        ours = of_line(ours)
        curves = [dict(curve(one.kept.rows)) for one in ours]
        epochs = sorted(set.intersection(*map(set, curves)))
        values = [[one[epoch] for one in curves] for epoch in epochs]
        style = {"linestyle": STYLES[ours[0].job.config.variant], "color": colour[ours[0].job.cell.label]}
        axis.plot(epochs, [statistics.mean(v) for v in values], label=short(label, title), **style)
        if len(ours) > 1 and not crowd:
            axis.fill_between(epochs, *([f(v) for v in values] for f in (min, max)), color=style["color"], alpha=0.2)
        alarms = [(row["epoch"], row["knn"]) for one in ours for row in one.kept.rows if row.get("alarm")]
        if alarms:
            axis.plot(*zip(*alarms), "x", color=style["color"], markersize=6)
    axis.set(xlabel="epoch", title=f"{title}: kNN on the test set, % (x: collapse alarm)")
    axis.title.set_fontsize(9)
    axis.grid(alpha=0.3)
    beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)} if crowd else {}
    axis.legend(fontsize=7, **beside)


def short(label, recipe):
    return label.removeprefix(recipe).strip().replace("repro.", "baseline")


def colours(steps):
    """By variant where there is one heavy policy, else by policy: then the line's style tells the variant."""
    cells = {one.job.cell.label: one.job for one in steps}
    variants = [job.config.variant for job in cells.values()]
    if len(set(variants)) == len(variants):
        return {label: COLORS[job.config.variant] for label, job in cells.items()}
    looks = {label: look(job) for label, job in cells.items() if job.config.variant != "baseline"}
    palette = {kind: PALETTE[n % len(PALETTE)] for n, kind in enumerate(dict.fromkeys(looks.values()))}
    return {label: palette[looks[label]] if label in looks else "black" for label in cells}


def look(job):
    return tuple((name, text) for name, text in sorted(job.cell.settings.items()) if name != "variant")


def accuracy_over_delta(axis, steps):
    for name, colour in (("knn", COLORS["dssl"]), ("fast", COLORS["baseline"])):
        groups: dict[float, list[float]] = {}
        for one in steps:
            groups.setdefault(one.job.config.delta, []).append(getattr(result(one.kept), name))
        deltas = sorted(groups)
        means = [statistics.mean(groups[d]) for d in deltas]
        errors = [statistics.stdev(groups[d]) if len(groups[d]) > 1 else 0 for d in deltas]
        axis.errorbar(deltas, means, errors, marker="o", capsize=3, color=colour, label=name)
    axis.set(xlabel="delta, gamma = 1 - delta", title="last epoch, % (kNN, and `fast` logistic regression)")
    axis.title.set_fontsize(9)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def caption(about, steps):
    """Scale, epochs, seeds: what a figure may never be without."""
    configs = [one.kept.config for one in steps if one.kept]
    scale, epochs, seeds = (
        ", ".join(dict.fromkeys(str(getattr(config, name)) for config in configs))
        for name in ("scale", "epochs", "seed")
    )
    reduced = " (reduced: not the paper's setting)" if scale == "small" else ""
    lines = [of_line(ours) for ours in by_cell([one for one in steps if one.kept]).values()]
    some = " (some cells: fewer)" if len({len(ours) for ours in lines}) > 1 else ""
    several = [ours[0].job.cell.recipe for ours in lines if len(ours) > 1]
    bands = ", bands from lowest to highest" if set(several) - crowded(steps) else ""
    means = f"\nmean over seeds{bands}" if several else ""
    devices = list(dict.fromkeys(kind(config.device) for config in configs))
    mixed = f", trained on {' and '.join(devices)}" if len(devices) > 1 else ""
    return f"{about}\nscale {scale}{reduced}, {epochs} epochs, seed {seeds}{some}{mixed}{means}"
