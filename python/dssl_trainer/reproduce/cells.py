"""The runs of an experiment: their names, their folders, and how far each has come.

A run belongs to a cell by its settings and not by its folder's name: run folders of several machines are merged by
copying them into one place. What a step does not depend on (paths, threads, device, ..) plays no part.
"""

import dataclasses
import fnmatch
import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

from .. import log
from ..checkpoint import FREE
from ..config import Config, as_dict, from_dict, override, show
from ..data.views import uses_policy
from ..errors import TrainerError
from ..experiments import EXPERIMENTS, Cell
from ..presets import PRESETS

EVALUATED_BY = {"small": ("knn", "fast"), "full": ("knn", "fast", "linear")}  # protocols of a scale
EQ6 = ("alpha", "beta", "gamma", "delta")
FIXED = {"data", "download", "out", "resume", "max_steps", "on_collapse", "seed", "variant"}  # not for --set


class Job(NamedTuple):
    """A cell with a seed: one run."""

    cell: Cell
    config: Config
    name: str

    @property
    def key(self):
        return key(self.config)


class Kept(NamedTuple):
    """What the folder of a run holds beside weights: of config.json versions, a line about the data and the images'
    checksum, rows of log.csv, {protocol: evaluation-<protocol>.json} of the last row's step."""

    folder: Path
    config: Config
    versions: dict
    about: str
    images: str | None
    rows: list
    evaluations: dict

    @property
    def epoch(self):
        return self.rows[-1]["epoch"] if self.rows else 0.0

    @property
    def finished(self):
        """Trained to the end, and its last checkpoint evaluated by every protocol of its scale."""
        if self.epoch < self.config.epochs or "knn" not in self.rows[-1]:
            return False
        return set(EVALUATED_BY.get(self.config.scale, ("knn", "fast"))) <= self.evaluations.keys()

    @property
    def is_drawn(self):
        """Trained on synthetic images: no number of a table."""
        return self.config.data == "drawn"


# ---- which runs


def jobs(experiment, scale, seeds=(0,), globs=(), changes=None):
    """[Job] of an experiment, each run once. changes: {setting: text} that hold in every cell.

    Raises TrainerError for unknown experiments, cells and settings."""
    if experiment not in EXPERIMENTS:
        raise TrainerError(f"unknown experiment {experiment!r}; there is {', '.join(EXPERIMENTS)}, table5")
    changes = changes or {}
    refuse(changes, EXPERIMENTS[experiment])
    found: dict[str, Job] = {}
    unfit = []  # cells that the changes do not go with: (Job without the changes, error)
    for seed, cell in itertools.product(seeds, EXPERIMENTS[experiment]):
        try:
            job = new_job(cell, scale, seed, changes)
            found.setdefault(job.key, job)
        except TrainerError as error:
            unfit.append((new_job(cell, scale, seed, {}), error))
    if unfit:
        refuse_meant(unfit, list(found.values()), scale, globs)
    return selected(list(found.values()), globs, experiment)


def refuse_meant(unfit, found, scale, globs):
    """Raises the error of an unfit cell that is wanted, or may be: where a glob matches names alone that the changes
    make."""
    for job, error in unfit:
        if wanted(job, globs):
            raise error
    plain = [new_job(job.cell, scale, job.config.seed, {}) for job in found]
    news = [glob for glob in globs if not any(matches(job, glob) for job in plain)]
    if not found or any(matches(job, glob) for glob in news for job in found):
        raise unfit[0][1]


def refuse(changes, cells):
    for name in changes:
        owners = [cell.label for cell in cells if name in cell.settings]
        if name in FIXED or owners:
            why = f"the cell {owners[0]!r} sets it itself" if owners else "it cannot be changed for all cells"
            raise TrainerError(f"--set {name}: {why}")


def new_job(cell, scale, seed, changes):
    config = dataclasses.replace(override(PRESETS[cell.recipe][scale], changes | cell.settings), seed=seed)
    return Job(cell, config, run_name(cell.recipe, config))


def selected(found, globs, experiment):
    for glob in globs:
        if not any(matches(job, glob) for job in found):
            names = dict.fromkeys(job.name.rpartition("-seed")[0] for job in found)
            raise TrainerError(f"--cells: no cell of {experiment} is called {glob!r}; there is {', '.join(names)}")
    return [job for job in found if wanted(job, globs)]


def wanted(job, globs):
    return not globs or any(matches(job, glob) for glob in globs)


def matches(job, glob):
    return any(fnmatch.fnmatchcase(name, glob) for name in (job.name, job.name.rpartition("-seed")[0], job.cell.label))


# ---- what makes two runs the same


def identity(config):
    """{setting: value} of what decides a run's steps and kNN, without settings that its variant does not look at."""
    idle = {"baseline": {"heavy_from", "heavy_views", *EQ6}, "heavy": set(EQ6)}
    unused = idle.get(config.variant, {"heavy_views"})
    if config.variant == "heavy" and config.heavy_views != "all":
        unused = unused | {"heavy_from"}
    if not uses_policy(config):
        unused = unused | {"heavy", "op_set"}
    skip = (FREE - {"knn_limit"}) | unused | {"precision"}  # the machine's: the report names it
    return {name: value for name, value in as_dict(config).items() if name not in skip}


def key(config):
    return json.dumps(identity(config), sort_keys=True)


def run_name(recipe, config):
    """The recipe, the variant, what differs from the recipe, and the seed."""
    usual = as_dict(PRESETS[recipe][config.scale])
    parts = [recipe, config.variant]
    for name, value in identity(config).items():
        if value != usual[name] and name not in ("seed", "variant"):
            text = f"{value:g}" if isinstance(value, float) else show(value)
            parts.append(text if name == "heavy" else f"{name}-{text}")
    stem = re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-")
    return f"{stem}-seed{config.seed}"


# ---- what is there


def kept_runs(place):
    """{key: Kept} of the run folders in `place`; of several alike the one that has come furthest."""
    found: dict[str, Kept] = {}
    for path in sorted(Path(place).glob("*/config.json")):
        kept = read(path.parent)
        if kept is not None and progress(kept) > progress(found.get(key(kept.config))):
            found[key(kept.config)] = kept
    return found


def progress(kept):
    return (kept.finished, kept.epoch) if kept else (False, -1.0)


def read(folder):
    """The Kept of a folder; None where its config.json is not one of this version."""
    try:
        record = json.loads((folder / "config.json").read_text())
        config = from_dict(record["settings"], folder / "config.json")
        rows = rows_of(folder)
        return Kept(folder, config, record.get("versions") or {}, record["data"], record.get("images"), rows,
                    evaluations(folder, rows))  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, TrainerError):
        return None


def rows_of(folder):
    """Rows of log.csv but for torn ones at its end, which a killed run leaves."""
    try:
        rows = log.read(folder / "log.csv")
    except (OSError, ValueError, TypeError):
        return []
    return [row for row in rows if {"epoch", "step", "seconds"} <= row.keys()]


def evaluations(folder, rows):
    """{protocol: result} of the last step; one that a killed run left half-written is not there: they are replaced
    whole."""
    found = {}
    step = rows[-1]["step"] if rows else None
    for path in sorted(folder.glob("evaluation-*.json")):
        result = json.loads(path.read_text())
        shortened = result.get("classifier_epochs") != result.get("own_epochs")
        if (result.get("checkpoint"), result.get("step")) == ("checkpoint.pt", step) and not shortened:
            found[result["protocol"]] = result
    return found
