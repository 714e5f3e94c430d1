"""The committed record: small files of finished runs under reproduction/, and the tables that are made from them.

A table stands in README.md and docs/reproduction.md between `<!-- table: EXPERIMENT GLOB .. -->` and `<!-- end -->`;
what is between the two is replaced. Figures name the checksum of the curves that they were drawn from.
"""

import json
import re
import zlib
from pathlib import Path

from ..atomic import replacing
from ..errors import TrainerError
from ..presets import PRESETS
from . import figures, pages, plan, results
from .cells import Cell, Job, jobs, kept_runs, stem

DOCUMENTS = ("README.md", "docs/reproduction.md")
MARK = re.compile(r"(<!-- table: ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
LIMIT = 5 * 2**20
KNN_PNG = "docs/reproduction.png"
HEADLINE = {"simsiam-cifar10": ("baseline", "heavy", "dssl")}


def collect(kept, scale, root=Path()):
    """Copies finished runs into root/reproduction/<scale>, renews tables and figure; lines about what was done."""
    if not (root / DOCUMENTS[1]).exists():
        raise TrainerError(f"collect: expected to run in the source tree, where {DOCUMENTS[1]} is")
    record = root / "reproduction" / scale
    done = [run for run in kept.values() if run.finished]
    for run in done:
        copy(run, record / name_of(run))
    size = sum(path.stat().st_size for path in (root / "reproduction").rglob("*") if path.is_file())
    if size > LIMIT:
        raise TrainerError(f"collect: {root / 'reproduction'} has {size / 2**20:.1f} MiB; {LIMIT >> 20} are allowed")
    yield f"{len(done)} finished runs copied into {record}, {size / 1024:.0f} KiB in all"
    for name in DOCUMENTS:
        path = root / name
        renewed = renew(path.read_text(encoding="utf-8"), root)
        with replacing(path, "w", encoding="utf-8") as file:
            file.write(renewed)
        yield f"tables renewed in {path}"
    if draw_headline(root):
        yield f"drawn: {root / KNN_PNG}"


def name_of(run):
    """The run's name by our scheme, whatever its folder is called."""
    recipe = f"{run.config.method}-{run.config.dataset}"
    return f"{stem(recipe, run.config, PRESETS[recipe][run.config.scale])}-seed{run.config.seed}"


def copy(run, target):
    """config.json, log.csv and evaluations, without the paths of the machine."""
    target.mkdir(parents=True, exist_ok=True)
    for path in [run.folder / "config.json", run.folder / "log.csv", *run.folder.glob("evaluation-*.json")]:
        with replacing(target / path.name, "w", encoding="utf-8") as file:
            file.write(anonymous(path.read_text(encoding="utf-8"), run))


def anonymous(words, run):
    """Without the folders that lead to data and run."""
    for place in (Path(run.config.data), Path(run.config.out), run.folder):
        for folder in {str(place.parent), str(place.parent.resolve())} - {".", "/"}:
            words = words.replace(f"{folder}/", "")
    return words


# ---- tables in documents


def renew(document, root):
    """The document with every marked table made anew."""
    return MARK.sub(lambda mark: f"{mark[1]}{generated(mark[2].split(), root)}\n{mark[3]}", document)


def generated(words, root):
    """Markdown of the table that the words name: EXPERIMENT GLOB .., or `runs`, all runs on record."""
    record = root / "reproduction" / "small"
    experiment, *globs = words
    if experiment == "runs":
        return pages.markdown(results.single_runs(all_runs(record)))
    if experiment == "photographs":
        return (root / "reproduction" / "photographs.md").read_text(encoding="utf-8").rstrip()
    found = results.tables(experiment, steps_of(experiment, globs, record))[:-1]
    return "\n\n".join(pages.markdown(table) for table in found)


def steps_of(experiment, globs, record):
    """[Step] of an experiment with every seed that is on record."""
    seeds = sorted({run.config.seed for run in kept_runs(record).values()}) or [0]
    wanted = jobs(experiment, "small", seeds, globs)
    return plan.plan(wanted, record, measure=False)[0]


def all_runs(record):
    steps = []
    for run in sorted(kept_runs(record).values(), key=lambda run: run.folder.name):
        cell = Cell(run.folder.name, f"{run.config.method}-{run.config.dataset}", None)
        steps.append(plan.Step(Job(cell, run.config, run.folder.name), "finished", run, 0.0))
    return steps


# ---- the README's figure


def headline(root):
    """Steps of SimSiam's three variants in Table 2."""
    globs = [f"{recipe}-{variant}" for recipe, variants in HEADLINE.items() for variant in variants]
    return steps_of("table2", globs, root / "reproduction" / "small")


def checksum(steps):
    """Of the curves that a figure shows."""
    curves = [(one.job.name, results.curve(one.kept.rows)) for one in steps if one.kept]
    return f"{zlib.crc32(json.dumps(curves).encode()):08x}"


def draw_headline(root):
    steps = headline(root)
    drawing = figures.figure("table2", steps, figures.caption("SimSiam on a JPEG copy of CIFAR-10", steps))
    if drawing is None:
        return False
    pages.save_png(drawing, root / KNN_PNG, dpi=90, Source=checksum(steps))
    return True
