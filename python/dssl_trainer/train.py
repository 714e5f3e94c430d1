"""Training: `train(config)` starts a run, or continues it from its folder's checkpoint bit for bit."""

import contextlib

from .bar import bar
from .data import load
from .device import deterministic, resolve, threads
from .distributed import largest, place, process_group
from .errors import TrainerError
from .interruption import Interrupted, interruption
from .lock import lock
from .record import subtitle
from .run import Run


def train(config, dataset=None, origin=None):
    """Trains to the last epoch or max_steps; returns the log's last evaluated row and `random_knn`, in other
    processes than the first None.

    Writes config.json, log.csv, checkpoint.pt, gallery.png and plot.png into config.out, and holds a lock on its
    .lock. origin: see record.py. Raises TrainerError for what the user can put right, another process in config.out
    included; Interrupted after Ctrl-C or SIGTERM."""
    config = resolve(config)
    with process_group(config) as ranks:
        run = Run(config, dataset or load(config), ranks, origin)
        result = train_side_by_side([run])[0]
        run.say(subtitle(run.config, run.dataset.about))
    return result


def train_side_by_side(runs):
    """Trains runs in turns of one step, so that all bars move together; a list of what `train` returns."""
    with contextlib.ExitStack() as stack:
        for context in (threads(runs[0].config.threads), deterministic(runs[0].config)):
            stack.enter_context(context)
        signals = stack.enter_context(interruption())
        for run in runs:
            stack.callback(run.loader.close)
            stack.enter_context(alone(run))
        for run in runs:
            run.begin()
        for number, run in enumerate(runs):
            run.bar = stack.enter_context(progress_bar(run, number))
        take_turns(runs, signals)
        return [run.finish() if run.first else None for run in runs]


@contextlib.contextmanager
def alone(run):
    """Its folder is this run's; TrainerError in every process where another trains there."""
    with lock(run.folder) if run.first else contextlib.nullcontext(True) as mine:
        if agreed(run, not mine):
            raise TrainerError(f"out: another process trains in {run.folder}; wait for it, or use another --out")
        yield


def take_turns(runs, signals):
    ended = [run for run in runs if run.done]
    while len(ended) < len(runs):
        for run in (run for run in runs if run not in ended):
            run.step()
            run.after_step()
            if agreed(run, bool(run.done)):
                ended.append(run)
        if number := agreed(runs[0], signals[0] if signals else 0):
            stop(runs, number)


def agreed(run, number):
    """Every process stops at the same step, or the others would wait for it for ever."""
    return largest(number, run.config.device, run.ranks)


def progress_bar(run, number):
    start, name = run.progress.step, run.config.variant
    hidden = place(run.ranks)[0] > 0
    return bar(total=run.last_step, initial=start, desc=f"{name:8}", unit="step", position=number, disable=hidden)


def stop(runs, number):
    for run in runs:
        run.save()
    done = ", ".join(f"step {run.progress.step} of {run.last_step} saved in {run.folder}" for run in runs)
    again = "; run the same command again to resume" if all(run.config.resume for run in runs) else ""
    raise Interrupted(f"stopped: {done}{again}", number)
