"""Training: `train(config)` starts a run, or continues it from its folder's checkpoint bit for bit."""

import contextlib

from .bar import bar
from .data import load
from .device import resolve, threads
from .interruption import Interrupted, interruption
from .report import subtitle
from .run import Run


def train(config, dataset=None):
    """Trains to the last epoch or max_steps; returns the log's last evaluated row and `random_knn`.

    Writes config.json, log.csv, checkpoint.pt, gallery.png and plot.png into config.out.
    Raises TrainerError for what the user can put right, Interrupted after Ctrl-C or SIGTERM."""
    config = resolve(config)
    run = Run(config, dataset or load(config))
    result = train_side_by_side([run])[0]
    run.say(subtitle(run.config, run.dataset))
    return result


def train_side_by_side(runs):
    """Trains runs in turns of one step, so that all bars move together; a list of what `train` returns."""
    with threads(runs[0].config.threads), interruption() as signals, contextlib.ExitStack() as bars:
        for run in runs:
            run.begin()
        for place, run in enumerate(runs):
            run.bar = bars.enter_context(progress_bar(run, place))
        while unfinished := [run for run in runs if run.progress.step < run.last_step]:
            for run in unfinished:
                run.step()
                run.after_step()
            if signals:
                stop(runs, signals[0])
    return [run.finish() for run in runs]


def progress_bar(run, place):
    start, name = run.progress.step, run.config.variant
    return bar(total=run.last_step, initial=start, desc=f"{name:8}", unit="step", position=place)


def stop(runs, number):
    for run in runs:
        run.save()
    done = ", ".join(f"step {run.progress.step} of {run.last_step} saved in {run.folder}" for run in runs)
    again = "; run the same command again to resume" if all(run.config.resume for run in runs) else ""
    raise Interrupted(f"stopped: {done}{again}", number)
