"""Tables of README.md and docs/benchmarks.md, made from the committed rows, and the plots.

    python -m benchmarks report [--check]

A page says where a table stands: between `<!-- table: NAME -->` and `<!-- end -->`. --check changes nothing and fails
where a page differs from the rows. A ratio is the time of a peer over ours: below 1, set in bold, the peer wins. Peers
that work on one core are counted at as many processes as we use threads.
"""

import argparse
import functools
import itertools
import re

from . import plots, rows
from .bench_augment import ONE_DRAW
from .machine import ROOT

PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
ROOMS = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))
OURS = "dssl_ops"
FLOORS = ("copy", "torch")  # no peers: what ours cannot do without
MARKED = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end -->)", re.S)
WAITING = """\
lightly's NT-Xent and pytorch-metric-learning take about 3.5 ms from N = 16 to 512: the GPU waits for their host.
"""
NOT_MEASURED = "CUDA: not measured, for want of a GPU; [roofline.md](docs/roofline.md) counts what bounds the kernels."


# ---- figures


def cases(found):
    """[{implementation: row}], rows that were timed in turns together, ours first."""
    groups = {}
    for row in found:
        groups.setdefault(rows.case_of(row), {})[row["impl"]] = row
    return [group for group in groups.values() if OURS in group]


def title(row):
    return " ".join(filter(None, (row["op"], row["shape"], row["dtype"])))


def time_of(row, ours):
    """Milliseconds, of a peer on one core those of as many processes as we use threads."""
    return row["median_ms"] * row["threads"] / ours["threads"]


def ratio(row, ours):
    return time_of(row, ours) / ours["median_ms"]


def rate(row, ours):
    return ours["items"] / time_of(row, ours) * 1e3


def times(value):
    text = f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    return f"**{text}**" if value < 1 else text


def number(value, digits=3):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"


def table(head, body, right=1):
    """Markdown; the first `right` columns are text."""
    if not body:
        return "No rows yet.\n"
    rule = ["---"] * right + ["---:"] * (len(head) - right)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *body)) + "\n"


def lines(found):
    """What is printed after a case: a line an implementation."""
    ours = next(row for row in map(as_numbers, found) if row["impl"] == OURS)
    for row in map(as_numbers, found):
        spread = f"{row['median_ms']:.4g} ms ({row['p20_ms']:.4g} to {row['p80_ms']:.4g})"
        memory = f"{row['peak_mb']:.1f} MiB" if row["peak_mb"] is not None else ""
        part = "" if row["mode"] in (ours["mode"], "step") else f", {row['mode']}"
        beside = f"{ratio(row, ours):8.2f} x ours" if row["impl"] != OURS and not part else ""
        yield f"    {row['impl'] + part:42}{spread:36}{memory:>12}{beside}"


def summary(found):
    """What is printed after a run: each case beside the fastest peer that computes the same."""
    body = []
    for group in cases(row for row in found if row["op"] != "training" or row["mode"] == "step"):
        ours, peer = group[OURS], best(group, one_draw=False)
        if peer is not None:
            body.append([title(ours), number(ours["median_ms"]), peer["impl"], times(ratio(peer, ours))])
    return table(["what", "ours, ms", "best peer", "its time / ours"], body)


def as_numbers(row):
    return row | {name: float(row[name]) if row.get(name) else None for name in rows.NUMBERS}


# ---- tables


def best(group, one_draw):
    """The fastest peer; without one_draw of those that draw for every image."""
    names = [name for name in group if name not in (OURS, *FLOORS) and (one_draw or not name.endswith(ONE_DRAW))]
    return min((group[name] for name in names), key=lambda row: time_of(row, group[OURS]), default=None)


def side_of(row):
    """Pixels of the images, from such shapes as 512x3x32x32 or '224 from 64 photographs'."""
    return int(row["shape"].split(" ")[0].rsplit("x", 1)[-1])


POLICIES = ("RA(2,5)+Jigsaw(4)", "UA", "standard view", "DSSL's four views")  # of the README


def augment_table(found, chosen=None):
    body = []
    for group in cases(found.get("augment", ())):
        ours, fair, fastest = group[OURS], best(group, one_draw=False), best(group, one_draw=True)
        if fair is None or ours["op"] not in (chosen or ours["op"]):
            continue
        peer = f"{fair['impl']}: {number(rate(fair, ours))}"
        other = "" if fastest is fair else f"{fastest['impl'].removesuffix(ONE_DRAW)}: {times(ratio(fastest, ours))}"
        line = [f"{ours['op']}, {side_of(ours)} px", number(rate(ours, ours)), peer, times(ratio(fair, ours)), other]
        body.append(line)
    head = ["views", "images/s", "best peer, images/s", "ours / it", "ours / best with one draw a batch"]
    return table(head, body, right=1)


def step_table(found):
    """Microseconds an image of each step, and beside a copy of as many bytes."""
    by_step = {}
    for group in cases(found.get("augment", ())):
        if (ours := group[OURS])["op"].startswith("step ") and "copy" in group:
            cell = [f"{ours['median_ms'] / ours['items'] * 1e3:.2f}", f"{1 / ratio(group['copy'], ours):.1f}"]
            name = ours["op"].removeprefix("step ")
            by_step.setdefault(name, []).append(cell)
    body = [[name, *itertools.chain(*cells)] for name, cells in by_step.items() if len(cells) == 2]
    return table(["step", "32 px, us an image", "/ copy", "224 px, us an image", "/ copy"], body)


CHOSEN = (  # of README's tables; not every one is measured on every device
    ("directional_loss", "4x512x2048", "float32"), ("nt_xent", "64x128", "float32"), ("nt_xent", "512x128", "float32"),
    ("nt_xent", "4096x128", "float32"), ("nt_xent", "4096x128", "bfloat16"), ("info_nce", "", "float32"),
    ("barlow_twins", "512x2048", "float32"),
)  # fmt: skip
CHOSEN_CUDA = (
    ("directional_loss", "4x64x2048", "float32"), ("directional_loss", "4x4096x2048", "float32"), *CHOSEN,
    ("nt_xent", "2048x128", "bfloat16"), ("nt_xent", "8192x128", "float32"), ("nt_xent", "8192x128", "bfloat16"),
)  # fmt: skip


def loss_rows(found):
    return [row for room in ("directional_loss", "nt_xent", "barlow_twins") for row in found.get(room, ())]


def is_chosen(row, chosen):
    return any((row["op"], row["dtype"]) == (op, kind) and row["shape"].startswith(s) for op, s, kind in chosen)


def loss_table(found, chosen=CHOSEN):
    body = []
    for group in cases(loss_rows(found)):
        ours = group[OURS]
        if is_chosen(ours, chosen):
            cells = [times(ratio(group[name], ours)) if name in group else "-" for name in ("eager", "compile")]
            names = [name for name in group if name not in (OURS, "eager", "compile", *FLOORS)]
            cells.append(", ".join(f"{name}: {times(ratio(group[name], ours))}" for name in names) or "-")
            memory = [number(group[name]["peak_mb"]) for name in (OURS, "eager") if name in group]
            body.append([title(ours), number(ours["median_ms"]), *cells, " / ".join(memory)])
    head = [
        "forward + backward",
        "ours, ms",
        "eager / ours",
        "compile / ours",
        "others / ours",
        "peak MiB: ours / eager",
    ]
    return table(head, body)


def training_table(found):
    sides = {}
    for row in found.get("training", ()):
        sides.setdefault(row["shape"], {}).setdefault(row["impl"], {})[row["mode"]] = row
    body = []
    for shape, by_side in sides.items():
        (ours, peer) = (by_side.pop(OURS), *by_side.values())
        step, other = ours.pop("step"), peer.pop("step")
        cells = [number(rate(row, step)) for row in (step, other)]
        medians = [(name, *(number(side[name]["median_ms"]) for side in (ours, peer))) for name in ours]
        parts = ", ".join(f"{name} {mine} / {theirs}" for name, mine, theirs in medians)
        body.append([f"{shape}, {step['dtype']}", *cells, times(ratio(other, step)), parts])
    head = ["whole step", "images/s", "Pillow views, eager loss", "ours / it", "ms of each part, ours / theirs"]
    return table(head, body)


def room_table(room, found):
    """Every row of a room but the engine's single steps."""
    body = []
    for group in cases(found.get(room, ())):
        ours = group[OURS]
        if ours["op"].startswith("step "):
            continue
        for row in group.values():
            what = [f"{title(ours)}, {row['mode']}", f"{row['impl']} {row['version']}"]
            spread = f"{number(row['median_ms'])} ({number(row['p20_ms'])} to {number(row['p80_ms'])})"
            of_limit = "-" if row["of_limit"] is None else f"{row['of_limit']:.2f}"
            beside = times(ratio(row, ours))
            beside = beside.strip("*") if row["impl"] in (OURS, *FLOORS) else beside
            body.append([*what, f"{row['threads']:.0f}", spread, number(row["peak_mb"]), of_limit, beside])
    head = ["what", "implementation", "threads", "ms (p20 to p80)", "peak MiB", "of limit", "its time / ours"]
    return table(head, body, right=2)


def about(found):
    """On what, when and at which commits the rows were measured."""
    every = [row for room in found.values() for row in room]
    ours = {f"{row['hardware']}, {row['threads']:.0f} threads" for row in every if row["impl"] == OURS}
    hardware = ", ".join(sorted(ours))
    torch, commits, dates = (", ".join(sorted({row[name] for row in every})) for name in ("torch", "commit", "date"))
    return f"Measured on {hardware}; torch {torch}; commit {commits}; {dates}.\n"


def cuda_table(found):
    """The README's choice."""
    if not any(found.values()):
        return NOT_MEASURED + "\n"
    return "\n".join((about(found), loss_table(found, CHOSEN_CUDA), WAITING, augment_table(found)))


def cuda_rooms(found):
    """Every row."""
    if not any(found.values()):
        return NOT_MEASURED + "\n"
    rooms = [room for room in found if found[room]]
    missing = ", ".join(room for room in ROOMS if room not in rooms)
    texts = [about(found), *(f"{room}:\n\n{room_table(room, found)}" for room in rooms)]
    return "\n".join([*texts, *([f"Not measured on a GPU: {missing}.\n"] if missing else [])])


def tables(folder=rows.RESULTS):
    """{name: maker of its text}."""
    every = rows.read_all(folder)
    cpu, cuda = ({room: of_device(found, name) for room, found in every.items()} for name in ("cpu", "cuda"))
    made = {"about": about, "augment": augment_table, "policies": functools.partial(augment_table, chosen=POLICIES)}
    made |= {"steps": step_table, "losses": loss_table, "training": training_table}
    made = {name: functools.partial(make, cpu) for name, make in made.items()}
    made |= {f"room {room}": functools.partial(room_table, room, cpu) for room in ROOMS}
    return made | {"cuda": functools.partial(cuda_table, cuda), "cuda rooms": functools.partial(cuda_rooms, cuda)}


def of_device(found, device):
    return [row for row in found if row["device"] == device]


def filled(page, folder=rows.RESULTS):
    """The page's text with its tables made anew."""
    made = tables(folder)

    def fill(match):
        if match[2] not in made:
            raise SystemExit(f"benchmarks: {page.name} has no such table: {match[2]}; there are {', '.join(made)}")
        text = made[match[2]]()
        return match[1] + (text.replace("(docs/", "(") if page.name != "README.md" else text) + match[3]

    return MARKED.sub(fill, page.read_text())


def main(words):
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(words).check
    for page in PAGES:
        text = filled(page)
        if check and text != page.read_text():
            raise SystemExit(f"benchmarks: {page.name} differs from the rows; run: python -m benchmarks report")
        page.write_text(text)
    if not check:
        plots.draw()
