"""What is timed on: clock, peak memory, cache, and the rates that bound every op, for the CPU and for CUDA."""

import contextlib
import ctypes
import functools
import gc
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parent.parent
MEGABYTE = 2**20
LONG = 50  # milliseconds
QUEUED_WITHIN = (6_000_000, 60_000_000)  # GPU cycles, some 3 ms; at the second try 30
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


class WallClock:
    """Milliseconds of a call by the processor's clock."""

    def __call__(self, call, on_host=False):
        start = time.perf_counter()
        result = call()
        return (time.perf_counter() - start) * 1e3, result


class EventClock:
    """Milliseconds of a call on the GPU, between events on its stream.

    The stream is kept busy until the host has queued the call's kernels, as a training loop keeps it: launches are not
    what is measured (the room "overhead" has them). Where that took the host too long, it is given more time; a call
    that itself waits for the GPU shows its host's work all the same. on_host: the host's work belongs to the call, and
    begins when the GPU has nothing to do."""

    def __init__(self, cuda=torch.cuda):
        self.cuda = cuda

    def __call__(self, call, on_host=False):
        for cycles in (0,) if on_host else QUEUED_WITHIN:
            start, end = (self.cuda.Event(enable_timing=True) for _ in range(2))
            self.cuda.synchronize()
            if cycles:
                self.cuda._sleep(cycles)
            start.record()
            result = call()
            was_late = start.query()
            end.record()
            end.synchronize()
            if not was_late:
                break
        return start.elapsed_time(end), result


def resident_peak(call):
    """MiB that a call adds at its peak to the resident memory of this process, native allocations included.

    Linux: free heap is given back, the peak is reset (clear_refs) and read (VmHWM). None where that cannot be done."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        call()
        return max(0, _status("VmHWM") - before) / 1024
    except OSError:
        return None


def _status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def allocated_peak(call):
    """MiB that a call adds at its peak to what torch's CUDA allocator has given out."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MEGABYTE


class Limits(NamedTuple):
    """Measured: bytes a millisecond that a copy reads and writes, floating-point operations a millisecond of a product
    of float32 matrices and of bfloat16 ones."""

    copy: float
    float32: float
    bfloat16: float

    def milliseconds(self, moved, operations, dtype):
        rate = max(self.float32, self.bfloat16) if dtype == "bfloat16" else self.float32  # it may be emulated
        return max(moved / self.copy, operations / rate)


class Machine(NamedTuple):
    device: str
    hardware: str
    threads: int
    cache: int  # bytes of the last-level cache
    clock: object
    peak: object

    @classmethod
    def of(cls, device, threads):
        """Holds this process to `threads` processors and threads. SystemExit, one line, where there is no device."""
        if device == "cuda" and not torch.cuda.is_available():
            raise SystemExit("benchmarks: --device cuda needs a GPU that torch can use; torch sees none")
        threads = min(threads or len(os.sched_getaffinity(0)), len(os.sched_getaffinity(0)))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        torch.set_num_threads(threads)
        if device == "cuda":
            gpu = torch.cuda.get_device_properties(0)
            return cls(device, gpu.name, threads, gpu.L2_cache_size, EventClock(), allocated_peak)
        return cls(device, processor(), threads, last_cache(), WallClock(), resident_peak)

    @property
    def about(self):
        bound = f"{self.threads} threads on as many processors, inputs rotated past {self.cache / MEGABYTE:.0f} MiB"
        return f"{self.hardware}, torch {torch.__version__}, {bound}"


def measure_limits(machine, rounds=5):
    """The best of `rounds`: a copy of 256 MiB, products of square matrices."""
    source = torch.ones(64 * MEGABYTE, device=machine.device)
    target = torch.ones_like(source)
    copy = 2 * source.nbytes / _best(machine, lambda: target.copy_(source), rounds)
    return Limits(copy, *(_product_rate(machine, dtype, rounds) for dtype in (torch.float32, torch.bfloat16)))


def _product_rate(machine, dtype, rounds):
    """Operations a millisecond at 2048 x 2048 (CUDA: 8192 x 8192), or at the first size that takes long: processors
    without instructions for bfloat16 need minutes for the largest."""
    largest = 8192 if machine.device == "cuda" else 2048
    for side in (256, 512, 1024, largest):
        x, y = (torch.randn(side, side, device=machine.device).to(dtype) for _ in range(2))
        found = _best(machine, functools.partial(torch.mm, x, y), rounds)
        if found > LONG:
            break
    return 2 * side**3 / found


def _best(machine, call, rounds):
    return min(machine.clock(call)[0] for _ in range(rounds + 1))


def processor():
    """Its name, which some machines give to all of theirs, and the vectors that torch uses on it."""
    with open("/proc/cpuinfo") as lines:
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def last_cache(default=32 * MEGABYTE):
    """Bytes of the largest cache that the first processor sees."""
    sizes = [path.read_text().strip() for path in CACHES.glob("index*/size")]
    return max((int(size[:-1]) * {"K": 2**10, "M": 2**20}[size[-1]] for size in sizes), default=default)


@functools.lru_cache
def commit():
    """Of the sources; -dirty where they differ from it (results and rendered pages aside)."""
    rendered = [":!benchmarks/results", ":!docs", ":!README.md"]
    answers = [
        subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT).stdout.strip()
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "-uno", "--", ".", *rendered])
    ]
    return (answers[0] or "unknown") + ("-dirty" if answers[1] else "")
