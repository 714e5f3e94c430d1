"""What a user waits for besides the work: importing, building, and the call of each op on inputs that are next to
nothing, beside its reference in plain PyTorch or Pillow."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial

import torch

import dssl_ops

from . import rows
from .bench_augment import one_step
from .harness import Case, Peer, loss
from .machine import ROOT

CLOCKED = "import time; start = time.perf_counter(); {}; print((time.perf_counter() - start) * 1e3)"


@dataclass
class Start:
    """Milliseconds that statements take in a fresh process; `build`: with an empty cache of kernels, by the compiler
    itself (no ccache)."""

    op: str
    statements: dict[str, str]  # by implementation; ours first
    build: bool = False

    @property
    def title(self):
        return self.op

    def key(self, device):
        return (self.op, "fresh process", "", "", device)

    def measure(self, machine, limits, effort, say=print):
        load, times = os.getloadavg()[0], {name: [] for name in self.statements}
        for _ in range(1 if self.build else effort.least):
            for name, statement in self.statements.items():
                times[name].append(self.clocked(statement))
        return [self.row(machine, name, measured, load) for name, measured in times.items()]

    def row(self, machine, name, measured, load):
        given = {"impl": name, "version": rows.version(name), "items": 1, "first_ms": measured[0], "load": load}
        given |= {"rounds": len(measured), "threads": machine.threads, "hardware": machine.hardware}
        return rows.stamp(dict(zip(rows.case_columns(), self.key(machine.device))) | given, measured)

    def clocked(self, statement):
        with tempfile.TemporaryDirectory() as empty:
            fresh = {"TORCH_EXTENSIONS_DIR": empty, "CXX": "c++", "CCACHE_DISABLE": "1"} if self.build else {}
            path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
            words = [sys.executable, "-c", CLOCKED.format(statement)]
            answer = subprocess.run(
                words, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path} | fresh
            )
        return float(answer.stdout.split()[-1])


def pairs(device):
    """By op: inputs, ours and the reference."""
    views = [torch.randn(8, 8, device=device, requires_grad=True) for _ in range(2)]
    image = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8, device=device)
    order, invert = torch.arange(16, device=device)[None].flip(1), one_step("Invert", (), 1, (8, 8))
    graph = dssl_ops.ViewGraph.symmetric()
    return {
        "directional_loss": (views, partial(directional, dssl_ops.directional_loss, graph),
                             partial(directional, dssl_ops.directional_loss_reference, graph)),
        "nt_xent": (views, dssl_ops.nt_xent, two_views),
        "barlow_twins": (views, dssl_ops.barlow_twins, dssl_ops.barlow_twins_reference),
        "jigsaw": ([image, order], partial(tiles, dssl_ops.jigsaw), partial(tiles, dssl_ops.jigsaw_reference)),
        "augment": ([image], partial(dssl_ops.augment, program=invert),
                    partial(dssl_ops.augment_reference, program=invert)),
    }  # fmt: skip


def directional(function, graph, x, y):
    return function([x, y], [x, y], graph)


def two_views(x, y):
    from .bench_nt_xent import dense

    return dense(x, y)


def tiles(function, images, permutation):
    return function(images, 4, permutation)


def cases(device, full):
    yield Start("import", {"dssl_ops": "import dssl_ops", "torch": "import torch"})
    yield Start("kernels from the cache", {"dssl_ops": "import dssl_ops; dssl_ops._library.native()"})
    if full:
        yield Start("kernels built", {"dssl_ops": "import dssl_ops; dssl_ops._library.native()"}, build=True)
    for op, (inputs, ours, reference) in pairs(device).items():
        peers = {"dssl_ops": Peer(partial(loss, ours), "dssl_ops"), "reference": Peer(partial(loss, reference))}
        mode = "forward + backward" if inputs[0].requires_grad else "forward"
        shape = "x".join(map(str, inputs[0].shape))
        dtype = str(inputs[0].dtype).removeprefix("torch.")
        yield Case(
            "overhead", f"call of {op}", shape, dtype, partial(list, inputs), peers, mode, tolerance=1e-4, on_host=True
        )  # fmt: skip
