"""What the documents show of the committed record: tables as Markdown, and figures that name what they were drawn from.

A figure's PNG holds the checksum of its curves under `Source`: a test sees whether it is out of date."""

import csv
import json
import statistics
import zlib

from ..experiments import Cell
from . import figures, pages, plan, results
from .cells import Job, jobs, kept_runs
from .cost import bytes_text, cost, flop_text, images_seen

FIGURES = {  # file in docs/plots: experiment, cells, title
    "reproduction": ("table2", ("simsiam-cifar10-*",), "SimSiam, RA(2,5) then JigSaw(4), JPEG copy of CIFAR-10"),
    "reproduction-fig1": ("fig1", (), "Fig. 1: SimSiam by heavy augmentation, JPEG copy of CIFAR-10"),
    "reproduction-fig5": ("fig5", (), "Fig. 5: SimSiam, delta of Eq. 6, JPEG copy of CIFAR-10"),
    "reproduction-long": ("long", (), "SimSiam, baseline and DSSL with RA(2,5), JPEG copy of CIFAR-10"),
}


def block(words, root, where):
    """Markdown of a marked block; `where` leads from the document to the root."""
    what, *globs = words
    if what in BLOCKS:
        return BLOCKS[what](root, where)
    steps = steps_of(what, globs, root)
    if not any(one.kept for one in steps):
        return "No run on record yet."
    return "\n\n".join(pages.markdown(table) for table in results.tables(what, steps)[:-1])


def steps_of(experiment, globs, root):
    """[Step] of an experiment at small scale, with every seed that is on record."""
    record = root / "reproduction" / "small"
    seeds = sorted({run.config.seed for run in kept_runs(record).values()}) or [0]
    return plan.plan(jobs(experiment, "small", seeds, globs), record, measure=False)[0]


# ---- blocks that are not just an experiment


def headline(root, where):
    """The README's table and figure: SimSiam's three variants."""
    steps = steps_of(*FIGURES["reproduction"][:2], root)
    done = [one for one in steps if one.state == "finished"]
    if not done:
        return "No run on record yet."
    rows = [short_row(ours) for ours in results.by_cell(steps).values()]
    heading = ("SimSiam, CIFAR-10", "kNN", "`fast`", "effective rank", "collapse alarm", "seeds", "the paper")
    config = done[0].kept.config
    note = (
        f"Reduced scale: {config.encoder}, {config.epochs} epochs, batch {config.batch_size}, JPEG copy of CIFAR-10; "
        f"{config.heavy} of {config.op_set}; w/ T-hat: {results.READINGS[config.heavy_views]}. Top-1 in percent, last "
        "epoch, all test images, mean and standard deviation over seeds. The paper's column is ResNet-18 after 800 "
        f"epochs, linear evaluation: not to be compared.{results.trained_on(steps)}"
    )
    return f"{pages.markdown(results.Table('', heading, rows, note))}\n\n{picture('reproduction', root, where)}"


def rule(root, where):
    """The rule for success of docs/reproduction.md: means over seeds, SimSiam with RA(2,5) and then JigSaw(4)."""
    steps = [one for one in steps_of(*FIGURES["reproduction"][:2], root) if one.state == "finished"]
    found: dict[str, dict] = {}
    for one in steps:
        found.setdefault(one.job.config.variant, {})[one.job.config.seed] = results.result(one.kept)
    if not all(results.seeds_of_both(found, *pair) for pair in results.PAIRS):
        return "Not all of the runs that it needs are on record yet."
    knn, fast = ([results.gaps(found, *pair, name) for pair in results.PAIRS] for name in ("knn", "fast"))
    heavy = found["heavy"].values()
    alarms, rank = sum(run.alarm is not None for run in heavy), results.spread([run.rankme for run in heavy])
    alarm = f"alarm in {alarms} of {len(heavy)} runs, effective rank {rank}"
    conditions = (
        ("1. DSSL - T-hat >= 10 points of kNN", "", yes(statistics.mean(knn[0]) >= 10)),
        ("2. baseline - T-hat >= 10 points of kNN, or the alarm", alarm, yes(statistics.mean(knn[1]) >= 10 or alarms)),
        ("3. DSSL - baseline, reported", "", "-"),
    )
    rows = [(words, results.spread(a), results.spread(b), *more) for (words, *more), a, b in zip(conditions, knn, fast)]
    heading = ("rule", "kNN, points", "`fast`, points", "T-hat", "holds")
    return pages.markdown(results.Table("", heading, rows, results.trained_on(steps).strip()))


def beside(root, where):
    """Of every recipe and heavy policy on record what separates its variants, beside the same of the paper."""
    rows = []
    for experiment, globs in (("table2", ["*-cifar10-*"]), ("fig1", []), ("table3", ["*-cifar10-*"])):
        steps = steps_of(experiment, globs, root)
        for pair, group in results.policies(steps).items():
            paper = {one.job.config.variant: one.job.cell.paper for one in steps if results.is_of(one, pair)}
            rows.append((*pair, *(f"{paper_gap(paper, a, b)} / {our_gap(group, a, b)}" for a, b in results.PAIRS)))
    heading = ("recipe", "heavy policy", *(f"{results.LABELS[a]} - {results.LABELS[b]}" for a, b in results.PAIRS))
    return pages.markdown(results.Table("", heading, rows)) if rows else "No run on record yet."


def paper_gap(numbers, a, b):
    """Points, or what the paper has in the place of a number."""
    words = [numbers[name] for name in (a, b) if isinstance(numbers[name], str)]
    return words[0] if words else results.points(numbers[a] - numbers[b])


def our_gap(group, a, b):
    """Points of kNN over the seeds that both have, and these."""
    seeds = results.seeds_of_both(group, a, b)
    told = f" (seeds {', '.join(map(str, seeds))})" if len(seeds) > 1 else ""
    return results.spread(results.gaps(group, a, b, "knn")) + told if seeds else "-"


def yes(holds):
    return "yes" if holds else "no"


def short_row(steps):
    variant = results.LABELS[steps[0].job.config.variant]
    _, paper, knn, _, *more = results.cell_row(steps[0].job.cell.label, steps, linear=False)
    return (variant, knn, *more, paper)


def picture(name, root, where):
    return f"![kNN over epochs]({where}docs/plots/{name}.png)" if drawing_of(name, root)[1] else ""


def runs(root, where):
    """Every run on record."""
    found = sorted((run for run in kept_runs(root / "reproduction" / "small").values() if run.finished),
                   key=lambda run: run.folder.name)  # fmt: skip
    steps = [plan.Step(Job(as_cell(run), run.config, run.folder.name), "finished", run, 0.0) for run in found]
    return pages.markdown(results.single_runs(steps)) if steps else "No run on record yet."


def as_cell(run):
    return Cell(run.folder.name, f"{run.config.method}-{run.config.dataset}", None)


def full(root, where):
    """What Table 2 would cost at full scale."""
    rows = []
    for job in jobs("table2", "full"):
        price = cost(job.config)
        rows.append((job.cell.label, flop_text(price.total(images_seen(job.config))), bytes_text(price.bytes),
                     results.paper(job.cell)))  # fmt: skip
    return pages.markdown(results.Table("", ("cell", "FLOP", "memory, float32", "the paper"), rows))


def photographs(root, where):
    """The tables of reproduction/photographs.py."""
    tables = []
    for path in sorted((root / "reproduction").glob("photographs-*.csv"), reverse=True):
        with open(path, newline="") as file:
            heading, *rows = csv.reader(file)
        scale = path.stem.removeprefix("photographs-")
        tables.append(f"Recipe of scale {scale}:\n\n" + pages.markdown(results.Table("", tuple(heading), rows)))
    return "\n\n".join(tables) or "Not measured yet."


def plots(root, where):
    """The figures that there are, but for the README's."""
    return "\n\n".join(filter(None, (picture(name, root, where) for name in list(FIGURES)[1:]))) or "None yet."


BLOCKS = {"headline": headline, "rule": rule, "beside": beside, "runs": runs, "full": full,
          "photographs": photographs, "plots": plots}  # fmt: skip


# ---- figures


def drawing_of(name, root):
    """(checksum of the curves, Figure or None where there are not two cells to compare)."""
    experiment, globs, title = FIGURES[name]
    steps = [one for one in steps_of(experiment, globs, root) if one.kept]
    curves = [(one.job.name, results.curve(one.kept.rows)) for one in steps]
    several = len(results.by_cell(steps)) > 1
    drawing = figures.figure(experiment, steps, figures.caption(title, steps)) if several else None
    return f"{zlib.crc32(json.dumps(curves).encode()):08x}", drawing


def draw(root):
    """Writes docs/plots/<name>.png of every figure that has runs; yields the paths."""
    for name in FIGURES:
        checksum, drawing = drawing_of(name, root)
        if drawing is not None:
            path = root / "docs" / "plots" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pages.save_png(drawing, path, dpi=90, Source=checksum)
            yield path
