"""Every kind of bug that the emulator is there for, planted and reported at its line, whatever the order of threads."""

import os
import re
import subprocess
import sys

import pytest
import torch

from emulator import HERE, ORDERS, SANITIZED, Emulated, EmulatorError
from emulator.sanitize import environment

SOURCE = HERE / "kernels" / "bugs.cu"
TEXT = SOURCE.read_text()
DECLARED = re.sub(r"LAUNCHED\w*\((\w+)\)", r"void launch_\1(float* x, cudaStream_t stream)", TEXT)
MARKED = re.compile(r"//\s*BUG (\w+)")
BUGS = {
    "missing_barrier": "reads 4 bytes at .* of shared memory that no thread has written",  # yet
    "barrier_too_early": "race: (reads|writes) 4 bytes",
    "missing_warp_barrier": "reads 4 bytes at .* of shared memory that no thread has written",
    "missing_warp_barrier_before_update": "race: (reads|writes) 4 bytes",
    "divergent_barrier": "divergent barrier: thread .* waits here, thread .* at line",
    "barrier_after_return": "waits at this barrier; .*thread.* has ended without it",
    "short_mask": "__shfl_xor_sync: mask 0x0000ffff lacks the calling lane",
    "lanes_that_do_not_come": "__shfl_xor_sync of thread .* waits for thread .*, which waits in __syncthreads",
    "lane_outside_the_mask": "lane .* reads from lane 20, which does not take part",
    "diverging_lanes": "lanes of one mask diverge",
    "beyond_the_buffer": "out of bounds: writes 4 bytes",
    "beyond_the_array": "index out of bounds of the array",
    "beyond_dynamic_shared": "out of bounds: writes 4 bytes",
    "unwritten_array": "of shared memory that no thread has written",
    "unwritten_dynamic_shared": "of shared memory that no thread has written",
    "unwritten_counter": "reads 4 bytes at .* of shared memory that no thread has written",
    "misaligned_vector": "misaligned access: .* is no multiple of 16",
    "blocks_write_one_place": "race: writes 4 bytes .* of a buffer that another thread wrote",
    "block_reads_another": "race: (reads|writes) 4 bytes .* of a buffer",
    "unfenced_last_block": "race: (reads|writes) 4 bytes .* of a buffer",
    "copy_not_awaited": "of shared memory that no thread has written",
    "wide_shift": "shift out of bounds",
}
# What AddressSanitizer's build does not watch, or reports by ending the process.
WATCHED = [name for name, text in BUGS.items() if re.match("race|.*no thread has written|out of bounds", text)]


@pytest.fixture(scope="module")
def bugs():
    return Emulated(SOURCE, DECLARED)


def marked_lines(name):
    return {number for number, line in enumerate(TEXT.splitlines(), 1) if f"// BUG {name}" in line}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", BUGS)
def test_the_bug_is_reported_at_its_line(bugs, name, order):
    if SANITIZED and name in WATCHED:
        pytest.skip("AddressSanitizer's build does not watch this, or ends the process")
    with pytest.raises(EmulatorError, match=BUGS[name]) as caught:
        getattr(bugs, f"launch_{name}")(buffer(), order=order)
    place = re.match(r"\S*bugs\.cu:(\d+): ", str(caught.value))
    lines = marked_lines(name) if name not in ("divergent_barrier", "diverging_lanes") else either_branch(name)
    assert place and int(place[1]) in lines, str(caught.value)


def either_branch(name):
    """Of two places that diverge, the one that comes later in the order is named first."""
    (line,) = marked_lines(name)
    return range(line - 5, line + 1)


SIZE = 126  # beyond_the_buffer writes at 126


def buffer():
    """Zeros, 16-byte aligned."""
    return torch.zeros(SIZE)


def test_every_planted_bug_is_expected():
    assert {name for name in MARKED.findall(TEXT)} == set(BUGS)


# The first must pass, though the sanitizer's build does not see its plain stores come before its atomics.
RUN_SANITIZED = """
import torch
from emulator import Emulated, test_semantics
from emulator.test_bugs import SOURCE, DECLARED
semantics = Emulated(test_semantics.SOURCE, test_semantics.SOURCE.read_text())
test_semantics.test_atomics_on_shared_memory_that_plain_stores_cleared(semantics, "forward")
Emulated(SOURCE, DECLARED).launch_beyond_the_buffer(torch.zeros(126))
"""


@pytest.mark.slow
@pytest.mark.skipif(SANITIZED, reason="this runs in a process that the sanitizer is not in")
def test_address_sanitizer_ends_the_process_at_the_line():
    settings = environment() | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    answer = subprocess.run([sys.executable, "-c", RUN_SANITIZED], env=settings, capture_output=True, text=True)
    assert answer.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in answer.stderr
    (line,) = marked_lines("beyond_the_buffer")
    assert re.search(rf"#0 .*beyond_the_buffer.*bugs\.cu:{line}", answer.stderr), answer.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1, 1025, 0), r"a block of \(1025, 1, 1\) threads is beyond CUDA's limits"),
        ((1, 0, 0), r"a block of \(0, 1, 1\) threads"),
        ((65536, 1, 0), r"a grid of \(1, 65536, 1\) is beyond CUDA's limits"),
        ((0, 1, 0), r"a grid of \(1, 0, 1\)"),
        ((1, 1, 227 * 1024 + 1), "232449 bytes of dynamic shared memory; 232448 are allowed"),
    ],
)
def test_limits_of_cuda(bugs, arguments, message):
    with pytest.raises(EmulatorError, match=message):
        bugs.launch_nothing(buffer(), *arguments)
    bugs.launch_nothing(buffer(), 65535, 1, 227 * 1024)


def test_shared_memory_of_smaller_gpus(bugs):
    bugs.launch_nothing(buffer(), 1, 1, 99 * 1024, arch="8.6")
    with pytest.raises(EmulatorError, match="102400 bytes of dynamic shared memory; 101376 are allowed"):
        bugs.launch_nothing(buffer(), 1, 1, 100 * 1024, arch="8.6")


def test_arguments_are_counted(bugs):
    with pytest.raises(TypeError, match="launch_nothing takes 4 arguments, the stream left out; got 1"):
        bugs.launch_nothing(buffer())
