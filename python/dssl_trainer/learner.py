"""Method and optimiser: one step of training, and all the state that a checkpoint needs of it."""

import contextlib
import dataclasses
import math
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from . import checkpoint
from .device import autocast, memory_format
from .distributed import mean, place
from .errors import TrainerError
from .graphs import GraphedPasses
from .methods import METHODS
from .optimizers import new_optimizer, set_learning_rates
from .schedule import ema_momentum, learning_rate


class Outcome(NamedTuple):
    """Of one step: its loss, averaged over parts and processes, the Result of its last part, and where something was
    not finite, so that nothing was learnt, what."""

    loss: float
    result: tuple
    fault: str = ""


class Learner:
    """All passes of a step are inside one forward of `model`: DDP wants it so."""

    def __init__(self, config, steps_per_epoch, ranks=None):
        self.config, self.steps_per_epoch, self.ranks = config, steps_per_epoch, ranks
        self.method = new_method(config, ranks)
        self.optimizer = new_optimizer(config, self.method)
        self.scaler = torch.amp.GradScaler(torch.device(config.device).type, enabled=config.precision == "fp16")
        self.model: Any = torch.compile(self.method) if config.compile else self.method
        if ranks is not None:
            self.model = DistributedDataParallel(self.model, broadcast_buffers=False)
        self.passes = self.part
        if config.cuda_graph:
            self.passes = GraphedPasses(self.part, (p for p in self.method.parameters() if p.requires_grad))

    def step(self, batches, step):
        config = self.config
        buffers = [b.clone() for b in self.method.buffers()] if config.on_nan == "skip" else []
        set_learning_rates(self.optimizer, learning_rate(config, step, self.steps_per_epoch), config.lr)
        self.optimizer.zero_grad()
        losses, keys = [], []
        for number, batch in enumerate(batches, 1):
            with self.without_reduction(number < len(batches)):
                result = self.passes(batch.views, batch.severity)
            losses.append(result.loss.detach())
            keys += result.keys
        loss = mean(torch.stack(losses).mean(), self.ranks)
        if fault := self.fault(step, loss, losses, batches):
            for buffer, before in zip(self.method.buffers(), buffers):
                buffer.copy_(before)
            return Outcome(loss, result, fault)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if hasattr(self.method, "after_step"):
            self.method.after_step(self.momentum(step), keys)
        return Outcome(loss, result)

    def part(self, views, severity):
        """Forward and backward of a part of a step."""
        with autocast(self.config):
            result = self.model(views, severity)
        self.scaler.scale(result.loss / self.config.accumulate).backward()
        return result

    def fault(self, step, loss, losses, batches):
        """What is not finite and where, or ''. Every process finds something or none does: losses and gradients are
        those of all. fp16 leaves gradients to its scaler, which expects some to overflow."""
        if math.isfinite(loss):
            finite = self.scaler.is_enabled() or math.isfinite(self.gradient_norm())
            return "" if finite else f"gradient is not finite at step {step}, though its loss {loss:g} is"
        own = [number for number, part in enumerate(losses) if not part.isfinite()]
        if not own:
            return f"loss is {loss} at step {step}, in another process"
        ids = ", ".join(map(str, batches[own[0]].ids.tolist()[:4]))
        return f"loss is {loss} at step {step}, part {own[0] + 1} of {len(losses)}, of images {ids}, .."

    def without_reduction(self, wanted):
        """Gradients of all but a step's last part stay in their process."""
        return self.model.no_sync() if wanted and self.ranks is not None else contextlib.nullcontext()

    def momentum(self, step):
        return ema_momentum(self.config, step, self.config.epochs * self.steps_per_epoch)

    def gradient_norm(self):
        gradients = [p.grad for p in self.method.parameters() if p.grad is not None]
        return nn.utils.get_total_norm(gradients).item()

    def state(self):
        scaler = {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        return {"model": self.method.state_dict(), "optimizer": self.optimizer.state_dict(), **scaler}

    def restore(self, state, path):
        checkpoint.load_weights(self.method, state["model"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])


def new_method(config, ranks=None):
    """Freshly initialised from the seed; the global random state stays as it was."""
    groups = max(1, config.bn_splits // place(ranks)[1])
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        try:
            method = METHODS[config.method](dataclasses.replace(config, bn_splits=groups), ranks)
        except ValueError as error:  # dssl_ops says what does not fit in one line
            raise TrainerError(str(error)) from None
    if ranks is not None and config.bn_splits == 1 and torch.device(config.device).type == "cuda":
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)  # it has no CPU path: there, each process has its own
    return method.to(config.device, memory_format=memory_format(config)).train()
