"""Checks that all implementations of a case agree, times them in turns, and gives the rows.

An implementation is timed warm, with inputs that rotate past the last-level cache; what disturbs one disturbs all,
since they take turns: A B C A B C.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch

from . import rows
from .machine import Limits, Machine
from .rows import quantiles, version

MOST_SETS = 4096  # of inputs


class Skip(Exception):
    """Why a peer cannot take part."""


class Peer(NamedTuple):
    """build() gives bind, or raises ImportError or Skip; bind(*inputs) gives the call without arguments that is timed.

    What bind does is not timed. package: whose version the row carries. equal: whether the call's result, a tuple of
    tensors, must equal the reference's. one_core: works image by image in Python, on one core; a user would run one
    process a core. Such a peer is timed with one thread, and its row says so."""

    build: Callable
    package: str = "torch"
    equal: bool = True
    one_core: bool = False


class Effort(NamedTuple):
    """At most `rounds` of an implementation, fewer (but `least`) after `seconds`."""

    rounds: int
    seconds: float
    least: int = 3


@dataclass
class Case:
    """What is compared in turns. `peers`: by name, ours ("dssl_ops") first, then the reference."""

    room: str
    op: str
    shape: str
    dtype: str
    make: Callable[[], list]  # fresh inputs
    peers: dict[str, Peer]
    mode: str = "forward"
    items: int = 1
    moved: float = 0  # bytes that a call must read and write at least
    operations: float = 0
    tolerance: float = 0
    on_host: bool = False  # the host's part of a call counts on a GPU, too
    verify: Callable[[], None] = field(default=lambda: None)  # where results cannot be compared: raises SystemExit

    @property
    def title(self):
        return f"{self.op} {self.shape} {self.dtype}"

    def key(self, device):
        """As rows.case_of gives it."""
        return (self.op, self.mode, self.shape, self.dtype, device)

    def measure(self, machine: Machine, limits: Limits, effort: Effort, say=print) -> list[dict]:
        """Rows, one an implementation. SystemExit where ours is wrong; a peer that is wrong is left out."""
        load = os.getloadavg()[0]
        self.verify()
        calls, first = start(self, machine, rotation(self.make, machine.cache), say)
        times = in_turns(self, machine, calls, effort)
        peaks = {name: machine.peak(next(turn)) for name, turn in calls.items()}
        return [self.row(name, machine, limits, load, first[name], times[name], peaks[name]) for name in times]

    def row(self, name, machine, limits, load, first, measured, peak):
        peer, median = self.peers[name], quantiles(measured)[0]
        what = {"impl": name, "version": version(peer.package), "items": self.items, "load": load}
        what |= dict(zip(rows.case_columns(), self.key(machine.device)))
        what |= {"threads": 1 if peer.one_core else machine.threads, "hardware": machine.hardware, "first_ms": first}
        of_limit = None if name == "copy" else self.least(limits) / median or None  # a copy need not move as much
        what |= {"peak_mb": peak, "of_limit": of_limit, "rounds": len(measured)}
        return rows.stamp(what, measured)

    def least(self, limits):
        """Milliseconds that the measured limits allow."""
        return limits.milliseconds(self.moved, self.operations, self.dtype)


def loss(function):
    """The bind of a function of tensors with a gradient: the call gives its value and gradients."""
    return lambda *inputs: partial(differentiate, function, inputs)


def differentiate(function, inputs):
    result = function(*inputs)
    wanted = [x for x in inputs if x.requires_grad]
    return (result.detach(), *(torch.autograd.grad(result, wanted) if wanted else ()))


def plain(function):
    """The bind of any other function."""
    return lambda *inputs: partial(function, *inputs)


def compiled(function):
    """A build: torch.compile, for the shapes of this case alone, nothing left of earlier ones."""

    def build():
        torch.compiler.reset()
        return loss(torch.compile(function, dynamic=False))

    return build


def rotation(make, cache):
    """As many sets of inputs as together exceed twice the cache: none is found there when its turn comes again."""
    first = make()
    return [first, *(make() for _ in range(min(MOST_SETS, math.ceil(2 * cache / max(1, size(first)))) - 1))]


def size(inputs):
    tensors = [x for given in inputs for x in (given if isinstance(given, list) else [given])]
    return sum(x.nbytes for x in tensors if torch.is_tensor(x))


def start(case, machine, sets, say):
    """By name, an endless turn of calls, one an input set, and milliseconds of the first. They agree, or SystemExit."""
    calls, first, wanted, left_out = {}, {}, None, {}
    for name, peer in case.peers.items():
        torch.set_num_threads(1 if peer.one_core else machine.threads)
        try:
            version(peer.package)
            bind = peer.build()
            bound = [bind(*inputs) for inputs in sets]
            first[name], result = machine.clock(bound[0], case.on_host)
            machine.clock(bound[-1], case.on_host)  # torch.compile may compile once more
        except Exception as reason:  # a peer of another version may fail in its own way
            if name == "dssl_ops":
                raise
            left_out.setdefault(in_words(reason), []).append(name)
            continue
        if peer.equal:
            wanted = wanted or result
            error = difference(result, wanted)
            if not error <= case.tolerance:
                blame(case, name, error, say)
                continue
        calls[name] = itertools.cycle(bound[1:] + bound[:1])
    for reason, names in left_out.items():
        say(f"    skipped, {reason}: {', '.join(names)}")
    return calls, first


def in_words(reason):
    expected = isinstance(reason, ImportError | Skip)
    return ("" if expected else f"{type(reason).__name__}: ") + (str(reason).splitlines() or [""])[0]


def blame(case, name, error, say):
    """The second implementation is the reference: where it differs, ours is wrong."""
    if name == list(case.peers)[1]:
        raise SystemExit(f"{case.title}: ours differs from {name} by {error:.1e}; nothing is timed")
    say(f"    skipped, differs from ours by {error:.1e}: {name}")


def difference(got, wanted):
    """The largest relative distance (in the Euclidean norm) of a tensor of `got` from that of `wanted`."""
    if len(got) != len(wanted):
        return math.inf
    pairs = [(x.double(), y.double()) for x, y in zip(got, wanted)]
    return max(float((x - y).norm() / y.norm().clamp_min(1e-30)) for x, y in pairs)


def in_turns(case, machine, calls, effort):
    """Milliseconds of every call."""
    times = {name: [] for name in calls}
    for _ in range(effort.rounds):
        for name, measured in times.items():
            if len(measured) >= effort.least and sum(measured) > effort.seconds * 1e3:
                continue
            torch.set_num_threads(1 if case.peers[name].one_core else machine.threads)
            measured.append(machine.clock(next(calls[name]), case.on_host)[0])
    torch.set_num_threads(machine.threads)
    return times
