"""`python tests/hardening/kills.py [--kills 50] [--seed N]`: kill -9 at random points of a short run, each resumed.

Every run must end as the one that nobody killed: the same log but for its times, the same checkpoint, bit for bit, and
no other file beside them. The run is a forked process, so that imports do not fill most of it, and it is killed when
it has used a random part of the processor time that the whole run takes. Prints one line a kill and the counts.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dssl_trainer import checkpoint
from dssl_trainer.train import train
from trainer_setup import METHODS, tiny

CHANGES = {"epochs": 4, "keep_every": 2, "bn_splits": 2, "symmetric": True, "tensorboard": False}
TIMES = ("images_per_second", "views_per_second", "data_share", "seconds")


def settings(folder, method):
    return tiny(folder, method, **CHANGES)


def start(config):
    """Process id of a fork that trains."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()  # its Ctrl-C is ours
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            train(config)
            code = 0
        finally:
            os._exit(code)
    return pid


def cpu_seconds(pid):
    """Processor time of the process and its threads."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def finish(pid):
    """Exit code and processor time."""
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def kill_after(pid, seconds):
    """Whether the process was still there to be killed when it had used so much."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if cpu_seconds(pid) >= seconds:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    return finish(pid)[0] == -signal.SIGKILL


def traces(folder):
    """What must not depend on the kill: rows without times, every tensor and number of the checkpoints, file names."""
    with open(folder / "log.csv", newline="") as file:
        rows = [{name: text for name, text in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    states = [checkpoint.load(path) for path in sorted(folder.glob("*.pt"))]
    for state in states:
        state["config"].pop("out"), state["progress"].pop("seconds")
    return rows, states, sorted(path.name for path in folder.iterdir())


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


class Whole:
    """The run that nobody kills."""

    def __init__(self, folder, method):
        self.method = method
        code, self.seconds = finish(start(settings(folder, method)))
        assert code == 0, f"the run of {method} failed by itself"
        self.traces = traces(folder)


def kill_and_resume(whole, folder, seconds):
    """(whether the kill came in time, step of the checkpoint it left or None, what is wrong then or '')."""
    killed = kill_after(start(settings(folder, whole.method)), seconds)
    path = folder / "checkpoint.pt"
    step = checkpoint.load(path)["progress"]["step"] if path.exists() else None
    if finish(start(settings(folder, whole.method)))[0] != 0:
        return killed, step, "the resumed run failed"
    wrong = [
        what for what, a, b in zip(("log", "checkpoints", "files"), whole.traces, traces(folder)) if not same(a, b)
    ]
    return killed, step, ", ".join(wrong) and f"other {', '.join(wrong)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, work = random.Random(options.seed), Path(tempfile.mkdtemp(prefix="kills-"))
    torch.set_num_threads(1)
    wholes = [Whole(work / method, method) for method in METHODS]
    done = failed = 0
    while done < options.kills:
        whole = wholes[done % len(wholes)]
        seconds = rng.uniform(0, whole.seconds)
        killed, step, wrong = kill_and_resume(whole, work / "run", seconds)
        shutil.rmtree(work / "run")
        if not killed:  # the run was over; another point
            continue
        done, failed = done + 1, failed + bool(wrong)
        print(
            f"{done:3} {whole.method:8} after {seconds:5.2f} s, step {step}: {wrong or 'resumed to the same end'}",
            flush=True,
        )
    shutil.rmtree(work)
    print(f"kills: {done} injected, {failed} ended otherwise, {failed} left")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
