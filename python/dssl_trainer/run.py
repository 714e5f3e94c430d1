"""One training run in its folder: a step, what happens between steps, beginning, end, checkpoints."""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from . import checkpoint, log, metrics, record
from .atomic import remove, sweep
from .config import as_dict
from .data.loader import Loader
from .distributed import place
from .errors import TrainerError
from .evaluation.collapse import collapse_evidence
from .evaluation.features import evaluate, evaluate_untrained
from .learner import Learner
from .reports.curves import plot
from .reports.gallery import draw_run
from .variants import view_names

MOST_SKIPPED = 10  # steps in a row that were not finite: by then the weights are at fault, not a batch


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
    collapsed: str = ""
    skipped: int = 0


class Run:
    """A training run in its folder. Of several processes the first alone evaluates and writes."""

    bar: tqdm  # train.py's, while it trains

    def __init__(self, config, dataset, ranks=None, origin=None):
        self.config, self.dataset, self.folder, self.ranks = config, dataset, Path(config.out), ranks
        self.first = place(ranks)[0] == 0
        self.origin = origin or record.origin(config)
        self.loader = Loader(dataset.train, config, ranks)
        self.steps_per_epoch = self.loader.steps_per_epoch
        if not self.steps_per_epoch:
            raise TrainerError(f"batch_size {config.batch_size} exceeds the {len(dataset.train)} training images")
        if config.batch_size % (config.accumulate * place(ranks)[1]):
            raise TrainerError(f"batch_size {config.batch_size} must be a multiple of accumulate x processes")
        all_steps = config.epochs * self.steps_per_epoch
        self.last_step = min(config.max_steps or all_steps, all_steps)
        self.learner = Learner(config, self.steps_per_epoch, ranks)
        self.progress, self.meter, self.last_loss = Progress(data_crc=dataset.crc()), metrics.Meter(), math.nan
        self.mark, self.watched, self.skipped_in_a_row = time.perf_counter(), {}, 0

    @property
    def method(self):
        return self.learner.method

    @property
    def done(self):
        return self.progress.step >= self.last_step or (self.progress.collapsed and self.config.on_collapse == "stop")

    # ---- one step

    def step(self):
        start, step = time.perf_counter(), self.progress.step
        batches = self.next_batches(step)
        self.meter.data_seconds += time.perf_counter() - start
        outcome = self.learner.step(batches, step)
        if outcome.fault:
            self.skip_or_stop(outcome.fault)
        else:
            self.count(outcome.loss)
        self.meter.seconds += time.perf_counter() - start
        self.watched = {}
        if self.row_is_due() and not outcome.fault:
            self.watched = {"lr": self.learner.optimizer.param_groups[0]["lr"]}
            if hasattr(self.method, "after_step"):
                self.watched["ema"] = self.learner.momentum(step)
            self.watched |= metrics.of_step(batches[-1], outcome, self.learner)
        self.bar.set_postfix_str(f"loss {self.last_loss:.3f}, {self.meter.images_per_second:,.0f} img/s", refresh=False)
        self.bar.update()

    def next_batches(self, step):
        """A file that cannot be decoded ends the run, for its batch would be another one; what is trained is kept."""
        try:
            return self.loader.get(step, self.last_step)
        except TrainerError:
            self.save()
            raise

    def skip_or_stop(self, fault):
        """Nothing was learnt from this step; every process is here."""
        self.skipped_in_a_row += 1
        if self.config.on_nan == "stop":
            raise TrainerError(f"{fault}; a lower --lr may help, --on-nan skip leaves such steps out")
        if self.skipped_in_a_row == MOST_SKIPPED:
            raise TrainerError(f"{fault}, as in the {MOST_SKIPPED - 1} steps before; a lower --lr may help")
        tqdm.write(f"{self.config.variant}: left out: {fault}", file=sys.stderr)
        self.progress.step += 1
        self.progress.skipped += 1

    def count(self, loss):
        self.last_loss, self.skipped_in_a_row = loss, 0
        self.progress.step += 1
        self.progress.loss_sum += loss
        self.progress.loss_count += 1
        self.meter.images += self.config.batch_size

    # ---- what happens between steps

    def epoch_ended(self, every=1):
        epoch, position = divmod(self.progress.step, self.steps_per_epoch)
        return position == 0 and epoch % every == 0

    def row_is_due(self):
        last = self.progress.step == self.last_step
        return last or self.epoch_ended() or self.progress.step % self.config.log_every == 0

    def after_step(self):
        if not self.first:
            return
        last, measured = self.progress.step == self.last_step, {}
        if last or self.epoch_ended(self.config.knn_every):
            measured = self.measure()
        if self.row_is_due():
            self.write_row(measured)
        if self.done or self.epoch_ended(self.config.checkpoint_every):  # also where a collapse ends it
            self.save()
        if self.config.keep_every and self.epoch_ended(self.config.keep_every):
            self.keep()

    def measure(self):
        """kNN and diagnostics; two alarming checks in a row raise the alarm."""
        found = evaluate(self.method.encoder, self.dataset, self.config)
        width = self.method.encoder.width
        evidence = collapse_evidence(found["std"], found["rankme"], width, found["knn"], self.progress.random_knn) or ""
        found["alarm"] = int(bool(evidence and self.progress.evidence))
        if found["alarm"]:
            both = f"{evidence} (before: {self.progress.evidence})"
            self.say(f"COLLAPSE ALARM at step {self.progress.step}: {both}")
            self.progress.collapsed = self.progress.collapsed or f"step {self.progress.step}: {both}"
        self.progress.evidence = evidence
        epoch = self.progress.step / self.steps_per_epoch
        self.say(f"epoch {epoch:g}: {describe(found)}, loss {self.last_loss:.3f}")
        return found

    def write_row(self, measured):
        progress, meter = self.progress, self.meter
        self.count_seconds()
        row = {"epoch": round(progress.step / self.steps_per_epoch, 4), "step": progress.step, **measured}
        if progress.loss_count:
            row |= {"loss": progress.loss_sum / progress.loss_count, **self.watched}
            speed = meter.images_per_second
            row |= {"images_per_second": round(speed, 1), "data_share": round(meter.data_share, 4)}
            row |= {"views_per_second": round(len(view_names(self.config)) * speed, 1)}
        log.append(self.folder / "log.csv", row | {"seconds": round(progress.seconds, 2)})
        if self.config.tensorboard:
            log.append_tensorboard(self.folder / "tensorboard", row)
        progress.loss_sum, progress.loss_count, self.meter = 0.0, 0, metrics.Meter()

    def say(self, text):
        if self.first:
            tqdm.write(f"{self.config.variant}: {text}", file=sys.stderr)

    def count_seconds(self):
        now = time.perf_counter()
        self.progress.seconds += now - self.mark
        self.mark = now

    # ---- beginning and end

    def begin(self):
        """Continues from the checkpoint if there is one, else measures the untrained encoder first."""
        self.mark = time.perf_counter()
        resuming = self.config.resume and (self.folder / "checkpoint.pt").exists()
        if resuming:
            self.restore(checkpoint.load(self.folder / "checkpoint.pt"))
            self.say(f"resuming {self.folder} at step {self.progress.step} of {self.last_step}")
        if not self.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        if not resuming:  # the checkpoint first: killed from here on, the folder must not pass for the old run
            for name in ("checkpoint.pt", "log.csv", *(old.name for old in self.folder.glob("evaluation-*.json"))):
                remove(self.folder / name)
        images = f"{self.progress.data_crc:08x}"
        record.write(self.folder / "config.json", self.config, self.origin, self.dataset.about, images)
        where = f"{self.config.precision} on {self.config.device}, {place(self.ranks)[1]} processes"
        self.say(f"{self.dataset.about}; {where}, {self.steps_per_epoch} steps an epoch")
        if not resuming:
            self.measure_untrained()

    def measure_untrained(self):
        draw_run(self.dataset.train, self.config, self.folder / "gallery.png", self.dataset.source)
        found = evaluate_untrained(self.method.encoder, self.dataset, self.config)
        self.progress.random_knn = found["knn"]
        self.write_row(found)
        self.say(f"the line to beat, a randomly initialised encoder: {describe(found)}")

    def finish(self):
        """Writes the plot; the log's last evaluated row and `random_knn`."""
        rows = log.read(self.folder / "log.csv")
        caption = record.subtitle(self.config, self.dataset.about)
        plot({self.config.variant: rows}, self.folder / "plot.png", caption)
        last = [row for row in rows if "knn" in row][-1]
        untrained = f"random initialisation {self.progress.random_knn:.1f} %"
        if self.progress.collapsed:
            self.say(f"collapsed: {self.progress.collapsed}")
        if self.progress.skipped:
            self.say(f"{self.progress.skipped} steps left out: their loss or gradient was not finite")
        self.say(f"{describe(last)}; {untrained}; files in {self.folder}")
        return last | {"random_knn": self.progress.random_knn}

    # ---- checkpoints

    def save(self):
        """The file's content is described in checkpoint.py."""
        if not self.first:
            return
        self.count_seconds()
        state = {"config": as_dict(self.config), "progress": vars(self.progress), **self.learner.state()}
        checkpoint.save(state, self.folder / "checkpoint.pt")

    def keep(self):
        """A copy that stays, named after its epoch."""
        self.save()
        epoch = self.progress.step // self.steps_per_epoch
        checkpoint.copy(self.folder / "checkpoint.pt", self.folder / f"checkpoint-epoch{epoch}.pt")

    def restore(self, state):
        path = self.folder / "checkpoint.pt"
        with checkpoint.reading(path):
            checkpoint.refuse_other_settings(self.config, state["config"], path)
            progress = Progress(**state["progress"])
            if progress.data_crc != self.progress.data_crc:
                raise TrainerError(f"{path} was made with other images or labels; {checkpoint.INSTEAD}")
            self.learner.restore(state, path)
        epoch_start = progress.step - progress.step % self.steps_per_epoch
        if self.first:
            log.cut_after(self.folder / "log.csv", progress.step, least=epoch_start)
        self.progress = progress


def describe(row):
    return f"kNN {row['knn']:.1f} %, effective rank {row['rankme']:.1f}, std {row['std']:.2f}"
