"""The curves of one or several runs."""

import textwrap

from matplotlib.figure import Figure

from ..variants import LABELS
from .page import escape, write

COLORS = {"baseline": "#4477aa", "heavy": "#cc6677", "dssl": "#228833", "soft": "#aa3377"}
PALETTE = ("#4477aa", "#cc6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#bbbbbb", "#222222")
PANELS = (  # title, and the columns of log.csv that it shows with their line styles
    ("loss", {"loss": "-"}),
    ("kNN on the test set, %", {"knn": "-"}),
    ("effective rank of the backbone (RankMe)", {"rankme": "-"}),
    ("std of backbone features (1: isotropic, 0: collapsed)", {"std": "-"}),
    ("cosine: standard views -, standard-heavy --, heavy :", {"sv_sv": "-", "sv_hv": "--", "hv_hv": ":"}),
)


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
