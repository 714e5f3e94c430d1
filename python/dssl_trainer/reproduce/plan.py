"""The plan: which runs, how far each has come, how long the rest takes, and at full scale what each would cost."""

import dataclasses
import statistics
import textwrap
import time
from typing import NamedTuple

import torch

from ..config import show
from ..data.dataset import Images
from ..data.loader import Loader
from ..device import chosen, kind, resolve, threads
from ..experiments import ABOUT
from ..learner import Learner
from ..lock import is_held
from .cells import identity, kept_runs
from .cost import bytes_text, cost, flop_text, images_seen


class Step(NamedTuple):
    """A job as the plan sees it; kept: its folder's content or None. seconds: still to go, None where unknown."""

    job: object
    state: str
    kept: object
    seconds: float | None


def plan(jobs, out, measure=True):
    """([Step], where the speed is from). measure: probe this machine where no log tells."""
    kept = kept_runs(out)
    speed, source = speeds(jobs, kept, measure)
    return [step(job, kept.get(job.key), out, speed(job)) for job in jobs], source


def step(job, kept, out, speed):
    state = state_of(job, kept, out)
    left = 0.0 if state == "finished" else 1 - min(kept.epoch / job.config.epochs, 1) if kept else 1.0
    total = cost(job.config).total(images_seen(job.config))
    return Step(job, state, kept, 0.0 if not left else left * total / speed if speed else None)


def state_of(job, kept, out):
    if kept and kept.finished:
        return "finished"
    folder = folder_of(job, kept, out)
    if folder.is_dir() and is_held(folder):
        return "running"
    return "interrupted" if kept else "not begun"


def folder_of(job, kept, out):
    return kept.folder if kept else out / job.name


# ---- speed, in FLOP per second


def speeds(jobs, kept, measure):
    """(job -> FLOP per second, or None; a word about its source): of its own log, else the median of the recipe's
    logs, else of all, else of a probe. Logs of other devices do not count: a GPU's says nothing of a CPU."""
    here = {kind(chosen(job.config.device)) for job in jobs}
    ours = {name: run for name, run in kept.items() if kind(run.config.device) in here}
    own = {name: rate for name, run in ours.items() if (rate := logged_rate(run))}
    recipes: dict[tuple, list[float]] = {}
    for name, rate in own.items():
        recipes.setdefault((kept[name].config.method, kept[name].config.encoder), []).append(rate)
    if own:
        everything = statistics.median(own.values())
        near = {recipe: statistics.median(rates) for recipe, rates in recipes.items()}
        return lambda job: own.get(job.key) or near.get((job.config.method, job.config.encoder), everything), "logs"
    probed = probe(jobs[0].config) if measure and jobs else None
    return lambda job: probed, "a probe of three steps" if probed else "nothing: no log here, and no probe was made"


def logged_rate(run):
    if not run.epoch or run.rows[-1]["seconds"] <= 0:
        return None
    return cost(run.config).total(run.rows[-1]["step"] * run.config.batch_size) / run.rows[-1]["seconds"]


def probe(config):
    """FLOP per second of three steps on random images; None for a full recipe where there is no GPU."""
    if config.scale == "full" and not torch.cuda.is_available():
        return None
    config, side = resolve(dataclasses.replace(config, workers=0, cuda_graph=False)), config.image_size
    pixels = torch.randint(0, 256, (config.batch_size, 3, side, side), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    with threads(config.threads):
        loader, learner = Loader(images, config), Learner(config, 1)
        times = [one_step(loader, learner, number) for number in range(4)][1:]  # the first one warms up
    return cost(config).total(config.batch_size) / statistics.median(times)


def one_step(loader, learner, number):
    start = time.perf_counter()
    learner.step(loader.get(number, number + 1), number)
    return time.perf_counter() - start


# ---- in words


def table(experiment, scale, steps, source, out):
    """The plan as text."""
    lines = [f"{ABOUT[experiment]}, scale {scale}: {len(steps)} runs in {out}", ""]
    for one in steps:
        progress = f"epoch {one.kept.epoch:.3g} of {one.job.config.epochs}" if one.kept else ""
        price = prices(one.job) if scale == "full" else ""
        lines.append(f"  {one.state:12}{progress:17}{duration(one.seconds):>11}{price}  {one.job.name}")
    known = [one.seconds for one in steps if one.seconds is not None]
    unknown = f", and {len(steps) - len(known)} runs of unknown length" if len(known) < len(steps) else ""
    told = f"{unknown}; speed from {source}, the last evaluations not counted"
    return "\n".join([*lines, "", f"  {'to go':29}{duration(sum(known)):>11}{told}", ""])


def prices(job):
    """FLOP, memory, and what the paper has."""
    price = cost(job.config)
    flop = flop_text(price.per_image * images_seen(job.config))
    return f"{flop:>13}{bytes_text(price.bytes):>11}{job.cell.paper or '-':>10}"


def duration(seconds):
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds else "-"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def recipe(job, changes):
    """A run's complete recipe, cost and expected accuracy, and the command that runs it alone. changes: of --set."""
    values = identity(job.config) | {"precision": job.config.precision}
    settings = ", ".join(f"{name} {show(value)}" for name, value in values.items())
    expected = "the paper gives no number" if job.cell.paper is None else f"the paper: {job.cell.paper}"
    if isinstance(job.cell.paper, float):
        expected += " % top-1, linear evaluation"
    lines = [
        f"{job.name}  ({job.cell.label}{'; ' + job.cell.note if job.cell.note else ''})", f"  expected  {expected}",
        *costs(job.config),
        *textwrap.wrap(f"settings  {settings}", 116, initial_indent="  ", subsequent_indent=" " * 12),
        f"  alone     {command(job, changes)}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def costs(config):
    price, images = cost(config), images_seen(config)
    everything, encoder = flop_text(price.total(images)), flop_text(price.encoder_total(images))
    passes = f"{price.passes} views forward and backward, {price.forward_only} forward alone"
    return (
        f"  cost      {everything}, of it the encoder {encoder} ({price.encoder / 1e6:.4g} MFLOP a view; {passes}, "
        f"{price.slow} through the slow network)",
        f"  memory    {bytes_text(price.bytes)} in float32 over all devices: weights, gradients, momentum, and what a "
        f"batch of {config.batch_size // config.accumulate} keeps for the backward pass",
    )


def command(job, changes):
    settings = {"seed": str(job.config.seed), **job.cell.settings, **changes}
    options = " ".join(f"--{name.replace('_', '-')} {quoted(text)}" for name, text in settings.items())
    return f"dssl train {job.cell.recipe} --scale {job.config.scale} {options} --data PATH --out OUT/{job.name}"


def quoted(text):
    return f"'{text}'" if "(" in text else text
