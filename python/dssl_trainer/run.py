"""One training run in its folder: a step, what happens between steps, beginning, end, checkpoints."""

import importlib.metadata
import json
import math
import platform
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from . import checkpoint, log, report
from .config import TrainerError, as_dict, show
from .device import autocast, memory_format, to_device
from .diagnostics import collapse_evidence
from .evaluate import evaluate, evaluate_untrained
from .files import remove
from .methods import METHODS
from .schedule import learning_rate
from .views import view_maker

VIEWS = 4
# Settings that a resumed run may change: none alters what a step computes, but for the rounding of
# floats, which another device or number of threads may change.
FREE = {"out", "data", "download", "device", "threads", "max_steps", "resume"}
FREE |= {"knn_every", "log_every", "checkpoint_every"}
INSTEAD = "use another --out or --resume false"


@dataclass
class Progress:
    """What a checkpoint holds beside weights and optimiser; seed and step give views and order."""

    step: int = 0
    data_crc: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    random_knn: float = 0.0
    evidence: str = ""


def image_order(seed, epoch, count):
    """The order in which an epoch visits the images: a permutation that depends on nothing else."""
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(count))


def data_crc(dataset):
    """A checksum of all images and labels."""
    crc = 0
    for part in (dataset.train, dataset.test):
        for tensor in (part.pixels, part.labels):
            crc = zlib.crc32(tensor.contiguous().numpy(), crc)
    return crc


class Meter:
    """Wall time of the steps since the last row of the log, and the part of it spent on making views."""

    def __init__(self):
        self.images, self.seconds, self.data_seconds = 0, 0.0, 0.0

    @property
    def images_per_second(self):
        return self.images / max(self.seconds, 1e-9)


class Run:
    """A training run in its folder."""

    def __init__(self, config, dataset):
        self.config, self.dataset, self.folder = config, dataset, Path(config.out)
        self.steps_per_epoch = len(dataset.train) // config.batch_size  # the last, smaller batch is dropped
        if not self.steps_per_epoch:
            raise TrainerError(f"batch_size {config.batch_size} exceeds the {len(dataset.train)} training images")
        all_steps = config.epochs * self.steps_per_epoch
        self.last_step = min(config.max_steps or all_steps, all_steps)
        self.views, self.method, self.optimizer = view_maker(config), *new_method(config)
        self.progress, self.meter, self.last_loss = Progress(data_crc=data_crc(dataset)), Meter(), math.nan
        self.order = None, None

    # ---- one step

    def step(self):
        start = time.perf_counter()
        views = self.next_views()
        self.meter.data_seconds += time.perf_counter() - start
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, self.progress.step, self.steps_per_epoch)
        with autocast(self.config):
            loss = self.method(views)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.count(loss.item())
        self.meter.seconds += time.perf_counter() - start
        self.bar.set_postfix_str(f"loss {self.last_loss:.3f}, {self.meter.images_per_second:,.0f} img/s", refresh=False)
        self.bar.update()

    def next_views(self):
        epoch, position = divmod(self.progress.step, self.steps_per_epoch)
        if self.order[0] != epoch:
            self.order = epoch, image_order(self.config.seed, epoch, len(self.dataset.train))
        size = self.config.batch_size
        ids = self.order[1][position * size : (position + 1) * size]
        key = {"seed": self.config.seed, "epoch": epoch, "sample_ids": ids}
        views = self.views(self.dataset.train.pixels[ids], memory_format=memory_format(self.config), **key)
        return [to_device(view, self.config) for view in views]

    def count(self, loss):
        if not math.isfinite(loss):
            raise TrainerError(f"loss is {loss} at step {self.progress.step}; a lower --lr may help")
        self.last_loss = loss
        self.progress.step += 1
        self.progress.loss_sum += loss
        self.progress.loss_count += 1
        self.meter.images += self.config.batch_size

    # ---- what happens between steps

    def after_step(self):
        epoch, position = divmod(self.progress.step, self.steps_per_epoch)
        last = self.progress.step == self.last_step
        epoch_end = position == 0
        measured = {}
        if last or (epoch_end and epoch % self.config.knn_every == 0):
            measured = self.measure()
        if last or epoch_end or self.progress.step % self.config.log_every == 0:
            self.write_row(measured)
        if last or (epoch_end and epoch % self.config.checkpoint_every == 0):
            self.save()

    def measure(self):
        """kNN and diagnostics; two alarming checks in a row raise the alarm."""
        found = evaluate(self.method.encoder, self.dataset, self.config)
        width = self.method.encoder.width
        evidence = collapse_evidence(found["std"], found["rankme"], width, found["knn"], self.progress.random_knn) or ""
        found["alarm"] = int(bool(evidence and self.progress.evidence))
        if found["alarm"]:
            self.say(f"COLLAPSE ALARM at step {self.progress.step}: {evidence} (before: {self.progress.evidence})")
        self.progress.evidence = evidence
        epoch = self.progress.step / self.steps_per_epoch
        self.say(f"epoch {epoch:g}: {describe(found)}, loss {self.last_loss:.3f}")
        return found

    def write_row(self, measured):
        progress, meter = self.progress, self.meter
        self.count_seconds()
        row = {"epoch": f"{progress.step / self.steps_per_epoch:.6g}", "step": progress.step, **measured}
        if progress.loss_count:
            row |= {
                "loss": progress.loss_sum / progress.loss_count,
                "lr": self.optimizer.param_groups[0]["lr"],
            }
            row |= {"views_per_second": f"{VIEWS * meter.images_per_second:.1f}"}
            row |= {"data_share": f"{meter.data_seconds / max(meter.seconds, 1e-9):.4f}"}
        log.append(self.folder / "log.csv", row | {"seconds": f"{progress.seconds:.2f}"})
        progress.loss_sum, progress.loss_count, self.meter = 0.0, 0, Meter()

    def say(self, text):
        tqdm.write(f"{self.config.variant}: {text}", file=sys.stderr)

    def count_seconds(self):
        now = time.perf_counter()
        self.progress.seconds += now - self.mark
        self.mark = now

    # ---- beginning and end

    def begin(self):
        """Continues from the checkpoint if there is one, else measures the untrained encoder first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mark = time.perf_counter()
        resuming = self.config.resume and (self.folder / "checkpoint.pt").exists()
        if resuming:
            self.restore(checkpoint.load(self.folder / "checkpoint.pt"))
            self.say(f"resuming {self.folder} at step {self.progress.step} of {self.last_step}")
        else:  # the checkpoint first: killed from here on, the folder must not pass for the old run
            remove(self.folder / "checkpoint.pt")
            remove(self.folder / "log.csv")
        self.write_settings()
        where = f"{self.config.precision} on {self.config.device}"
        self.say(f"{self.dataset.about}; {where}, {self.steps_per_epoch} steps an epoch")
        if not resuming:
            self.write_gallery()
            found = evaluate_untrained(self.method.encoder, self.dataset, self.config)
            self.progress.random_knn = found["knn"]
            self.write_row(found)
            self.say(f"the line to beat, a randomly initialised encoder: {describe(found)}")

    def write_settings(self):
        versions = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "dssl_ops": installed_version(),
        }
        settings = {"settings": as_dict(self.config), "versions": versions, "data": self.dataset.about}
        (self.folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")

    def write_gallery(self):
        report.gallery(self.dataset.train, self.config, self.folder / "gallery.png", self.dataset.source)

    def finish(self):
        rows = log.read(self.folder / "log.csv")
        caption = report.subtitle(self.config, self.dataset)
        report.plot({self.config.variant: rows}, self.folder / "plot.png", caption, self.progress.random_knn)
        last = [row for row in rows if "knn" in row][-1]
        untrained = f"random initialisation {self.progress.random_knn:.1f} %"
        self.say(f"{describe(last)}; {untrained}; files in {self.folder}")
        return last | {"random_knn": self.progress.random_knn}

    # ---- checkpoints

    def save(self):
        self.count_seconds()
        state = {"config": as_dict(self.config), "progress": vars(self.progress)}
        state |= {"model": self.method.state_dict(), "optimizer": self.optimizer.state_dict()}
        checkpoint.save(state, self.folder / "checkpoint.pt")

    def restore(self, state):
        path = self.folder / "checkpoint.pt"
        with checkpoint.one_line(path):
            self.refuse_other_settings(state["config"], path)
            progress = Progress(**state["progress"])
            if progress.data_crc != self.progress.data_crc:
                raise TrainerError(f"{path} was made with other images or labels; {INSTEAD}")
            checkpoint.load_weights(self.method, state["model"], path)
            self.optimizer.load_state_dict(state["optimizer"])
        epoch_start = progress.step - progress.step % self.steps_per_epoch
        log.cut_after(self.folder / "log.csv", progress.step, least=epoch_start)
        self.progress = progress

    def refuse_other_settings(self, before, path):
        own = as_dict(self.config)
        changed = [name for name in own if name not in FREE and own[name] != before.get(name)]
        if changed:
            was, now = (show(settings.get(changed[0])) for settings in (before, own))
            raise TrainerError(f"{path} was made with {changed[0]} {was}, not {now}; {INSTEAD}")


def new_method(config):
    """Method and optimiser, freshly initialised from the seed; the global random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        method = METHODS[config.method](config)
    method = method.to(config.device, memory_format=memory_format(config)).train()
    settings = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
    return method, torch.optim.SGD(method.parameters(), **settings)


def describe(row):
    return f"kNN {row['knn']:.1f} %, effective rank {row['rankme']:.1f}, std {row['std']:.2f}"


def installed_version():
    try:
        return importlib.metadata.version("dssl_ops")
    except importlib.metadata.PackageNotFoundError:
        return "source tree"
