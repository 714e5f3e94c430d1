"""The plots of docs/benchmarks.md, drawn from the committed rows. Each PNG carries the checksum of its rows."""

import zlib

from . import rows
from .machine import ROOT

FOLDER = ROOT / "docs" / "plots"
OURS, COPY = "dssl_ops", "copy"


def checksum(found):
    return f"{zlib.crc32(repr([sorted(row.items()) for row in found]).encode()):08x}"


def of_room(room, wanted):
    """The CPU's rows of a room that `wanted` takes."""
    path = rows.RESULTS / f"{room}.csv"
    found = rows.read(path) if path.exists() else []
    return [row for row in found if row["device"] == "cpu" and wanted(row)]


def nt_xent_rows():
    return of_room("nt_xent", lambda row: row["op"] == "nt_xent" and row["dtype"] == "float32")


def policy_rows():
    return of_room("augment", lambda row: not row["op"].startswith("step ") and row["impl"] != COPY)


def step_rows():
    return of_room("augment", lambda row: row["op"].startswith("step "))


def over_n(axes, found, column, label):
    measured = [row for row in found if row[column]]
    for name in dict.fromkeys(row["impl"] for row in measured):
        n, y = zip(*sorted((row["items"], row[column]) for row in measured if row["impl"] == name))
        axes.plot(n, y, "o-", markersize=3, label=name, linewidth=2.5 if name == OURS else 1)
    axes.set(xlabel="N (of 2 N rows, D = 128)", ylabel=label)
    if measured:
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize=7)


def speed_over_n(axes, found):
    over_n(axes, found, "median_ms", "NT-Xent, forward and backward, ms")


def memory_over_n(axes, found):
    over_n(axes, found, "peak_mb", "NT-Xent, peak memory of a call, MiB")


def images_per_second(axes, found):
    """A group of bars a policy and size, a bar an implementation."""
    groups = {}
    for row in found:
        size = row["shape"].split(" ")[0].rsplit("x", 1)[-1]
        groups.setdefault(f"{row['op']}, {size} px", []).append(row)
    names = list(dict.fromkeys(row["impl"] for row in found))
    colours = {name: f"C{k % 10}" for k, name in enumerate(names)}
    for place, group in enumerate(groups.values()):
        threads = next(row["threads"] for row in group if row["impl"] == OURS)
        for k, row in enumerate(group):
            speed = row["items"] / row["median_ms"] * 1e3 * threads / row["threads"]
            axes.barh(place + k / 10, speed, 0.1, color=colours[row["impl"]], label=row["impl"])
    axes.set(xscale="log", xlabel="images/s", yticks=[k + 0.3 for k in range(len(groups))])
    axes.set_yticklabels(groups, fontsize=7)
    axes.invert_yaxis()
    handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
    axes.legend(handles.values(), handles, fontsize=6, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def copy_floor(axes, found):
    """Time of each step over that of a copy, at 224 pixels."""
    large = [row for row in found if row["shape"].startswith("64x")]
    copies = {row["op"]: row["median_ms"] for row in large if row["impl"] == COPY}
    bars = [(row["op"].removeprefix("step "), row["median_ms"] / copies[row["op"]])
            for row in large if row["impl"] == OURS and row["op"] in copies]  # fmt: skip
    if bars:
        axes.barh(*zip(*sorted(bars, key=lambda bar: -bar[1])))
        axes.set(xscale="log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xlabel="time / time of a plain copy of the views, 224 px")
    axes.tick_params(axis="y", labelsize=7)


PLOTS = {
    "speed_over_n": (speed_over_n, nt_xent_rows, (6, 4)),
    "memory_over_n": (memory_over_n, nt_xent_rows, (6, 4)),
    "images_per_second": (images_per_second, policy_rows, (7, 9)),
    "copy_floor": (copy_floor, step_rows, (6, 5)),
}


def draw(folder=FOLDER):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    for name, (paint, rows_of, inches) in PLOTS.items():
        figure, axes = pyplot.subplots(figsize=inches, layout="constrained")
        paint(axes, rows_of())
        axes.grid(alpha=0.3)
        figure.savefig(folder / f"{name}.png", dpi=90, metadata={"Software": None, "Rows": checksum(rows_of())})
        pyplot.close(figure)
