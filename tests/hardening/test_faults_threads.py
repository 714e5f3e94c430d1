"""Threads, forks and ends of the interpreter while ops run. test_drop_in.py has the DataLoader's workers."""

import subprocess
import sys
import threading

import pytest
import torch
from checks import needs_native
from forks import exit_code, forked
from trainer_setup import environment

from dssl_ops import barlow_twins, directional_loss, info_nce, jigsaw, nt_xent
from dssl_ops import transforms as T

pytestmark = needs_native
VIEWS = T.DirectedViews(T.StandardView.cifar10(), T.policy("RA(2,5)+Jigsaw(4)"))


def inputs():
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(96, 128, generator=generator) for _ in range(4)]
    images = torch.randint(0, 256, (16, 3, 48, 48), generator=generator, dtype=torch.uint8)
    return rows, images


def once(rows, images):
    """Results and gradients of every op."""
    found = [directional_loss(rows, rows)]
    for loss in (nt_xent, barlow_twins, info_nce):
        z = rows[0].clone().requires_grad_()
        value = loss(z, rows[1])
        value.backward()
        found += [value.detach(), z.grad]
    return [*found, *VIEWS(images, seed=3), jigsaw(images, 4, torch.arange(15, -1, -1).expand(16, 16))]


def test_many_threads_at_once_while_the_number_of_threads_changes(threads):
    """12 threads call every op, three of them also change torch's number of threads: always the same bits."""
    rows, images = inputs()
    expected, wrong, rounds = once(rows, images), [], [0]

    def work(number):
        for turn in range(8):
            if number % 4 == 3:
                torch.set_num_threads(1 + turn % 3)
            found = once(rows, images)
            rounds[0] += 1
            if not all(map(torch.equal, expected, found)):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert rounds == [96] and wrong == []


def test_fork_after_use_with_threads():
    """OpenMP's threads are not in the child, which would wait for them for ever. (torch's own loops do.)"""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        images = inputs()[1]
        z = [torch.randn(600, 512) for _ in range(4)]
        expected = directional_loss(z, z), *VIEWS(images, seed=3)

        def child():
            found = directional_loss(z, z), *VIEWS(images, seed=3)
            same = all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in zip(expected, found))
            return 7 if same else 8

        assert exit_code(forked(child), 60) == 7
    finally:
        torch.set_num_threads(before)


EXIT = """
import sys, threading, time, torch
from dssl_ops import directional_loss, transforms as T
torch.set_num_threads(int(sys.argv[1]))
rows = [torch.randn(512, 1024) for _ in range(4)]
images = torch.randint(0, 256, (16, 3, 96, 96), dtype=torch.uint8)
views = T.DirectedViews(T.StandardView.cifar10(), T.policy("RA(2,5)+Jigsaw(4)"))
begun = threading.Event()
def work():
    while True:
        directional_loss(rows, rows) if sys.argv[2] == "loss" else views(images, seed=0)
        begun.set()
threading.Thread(target=work, daemon=True).start()
begun.wait()
time.sleep(float(sys.argv[3]))
"""


MORE = [(count, op, seconds) for count in (1, 2) for op in ("loss", "views") for seconds in (0, 0.1)]


@pytest.mark.parametrize(
    "count, op, seconds", [(1, "loss", 0.05), *(pytest.param(*case, marks=pytest.mark.exhaustive) for case in MORE)]
)
def test_interpreter_ends_while_a_daemon_thread_is_in_a_kernel(count, op, seconds):
    """Without csrc/common/ending.h: 'terminate called without an active exception', as with torch's own functions."""
    command = [sys.executable, "-c", EXIT, str(count), op, str(seconds)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
