"""Runs the cells of a plan one after the other: train, evaluate, next."""

import dataclasses
import signal
import sys
import traceback

from tqdm import tqdm

from ..bar import bar
from ..data import load
from ..data.dataset import Dataset
from ..errors import TrainerError
from ..evaluation.protocols import evaluate_run
from ..interruption import Interrupted
from ..lock import lock
from ..presets import GIVEN
from ..reports.html_report import write_report
from ..train import train
from .cells import EVALUATED_BY, kept_runs
from .plan import duration, folder_of

AGAIN = "the same command again goes on: finished runs are skipped, this one resumes"


def run_all(steps, out, places, changes):
    """Runs what is not finished; {name: why} of runs that failed. places: {data set: path}. changes: of --set.

    A run whose lock another process holds is tried once more at the end. Raises Interrupted after Ctrl-C."""
    failed: dict[str, str] = {}
    data: dict[tuple, Dataset] = {}
    pending = [one for one in steps if one.state != "finished"]
    with bar(total=len(steps), initial=len(steps) - len(pending), desc="runs", unit="run", position=1) as bar_of_runs:
        for _ in range(2):
            busy: list = []
            for number, one in enumerate(pending):
                announce(one, pending[number:])
                attempt(one, out, places, changes, data, failed, busy)
                bar_of_runs.update(one not in busy)
            pending = busy
    for one in pending:
        say(f"{one.job.name}: another process runs it")
    return failed


def announce(one, rest):
    seconds = sum(other.seconds or 0 for other in rest)
    say(f"\n{one.job.name}: about {duration(one.seconds)}; {len(rest)} runs to go, about {duration(seconds)}")


def say(text):
    tqdm.write(text, file=sys.stderr)


def attempt(one, out, places, changes, data, failed, busy):
    """Runs one; puts it into `busy` where its lock is held, or its error into `failed`."""
    name = one.job.name
    try:
        with lock(folder_of(one.job, one.kept, out)) as mine:
            if not mine:
                busy.append(one)
                return
            run_one(one.job, out, places, changes, data)
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(f"{name} is not finished; {AGAIN}", signal.SIGINT) from None
    except (TrainerError, OSError) as error:
        failed[name] = str(error)
        say(f"{name} failed: {error}")
    except Exception as error:  # a fault of ours in one run must not cost the others
        failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        say(traceback.format_exc())


def run_one(job, out, places, changes, data):
    kept = kept_runs(out).get(job.key)  # as it is now: another process may have finished it since the plan
    folder = folder_of(job, kept, out)
    if kept and kept.finished:
        return
    config = dataclasses.replace(job.config, data=places[job.config.dataset], out=str(folder))
    if kept:
        config = dataclasses.replace(config, precision=kept.config.precision)  # that of the machine that began it
    train(config, loaded(config, data), origin_of(job, changes))  # trained to the end already: it only looks
    evaluate_run(folder, EVALUATED_BY[job.config.scale], config.data, config.device)
    write_report(folder)


def loaded(config, data):
    """The Dataset, kept for the runs that follow."""
    wanted = (config.data, config.dataset, config.image_size, config.limit_train, config.limit_test, config.workers)
    if wanted not in data:
        data.clear()
        data[wanted] = load(config)
    return data[wanted]


def origin_of(job, changes):
    """{setting: where its value comes from}, as config.json keeps it."""
    given = {spec.name: "default" for spec in dataclasses.fields(job.config)}
    given |= dict.fromkeys(GIVEN[job.cell.recipe][job.config.scale], "preset")
    ours = dict.fromkeys((*job.cell.settings, "seed"), "experiment")
    return given | ours | dict.fromkeys((*changes, "data", "out"), "command line")
