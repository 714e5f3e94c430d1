"""The lock of a run's folder: one process at a time, whatever is forked, on file systems with locks and without."""

import errno
import os
import subprocess
import sys

import pytest
from dssl_trainer.errors import TrainerError
from dssl_trainer.lock import is_held, lock
from dssl_trainer.train import train
from trainer_setup import environment, held_by_another, tiny


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    config = tiny(tmp_path, epochs=1)
    with held_by_another(tmp_path):
        with pytest.raises(TrainerError, match=r"^out: another process trains in .*; wait for it, or use another"):
            train(config)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    train(config)
    with lock(tmp_path) as mine:  # the train before has left it, and one inside does not wait for it
        assert mine and train(config)["step"] == 3


FORKS = """
import os, sys
from pathlib import Path
from dssl_trainer.lock import is_held, lock

folder, tried, let_go = Path(sys.argv[1]), os.pipe(), os.pipe()
with lock(folder) as mine:
    first = os.fork()
    if first == 0:
        sys.exit()  # through the end of this block, with the parent's file
    os.waitpid(first, 0)
    still = is_held(folder)
    second = os.fork()
    if second == 0:
        with lock(folder) as also:
            os.write(tried[1], b".")
            os.close(let_go[1])
            os.read(let_go[0], 1)  # until the parent has let go and come back
            os._exit(also)
    os.read(tried[0], 1)
with lock(folder) as again:
    os.close(let_go[1])
    print(mine, still, again, os.waitpid(second, 0)[1])
"""


def test_a_child_neither_has_nor_keeps_its_parents_lock(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.stdout.split() == ["True", "True", "True", "0"], done.stderr


@pytest.mark.parametrize("number, goes_on", [(errno.ENOLCK, True), (errno.EAGAIN, False)])
def test_a_file_system_without_locks_is_no_other_process(number, goes_on, tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", failing(number))
    with lock(tmp_path) as mine:
        assert mine == goes_on and is_held(tmp_path) != goes_on


def test_a_lock_that_is_forbidden_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", failing(errno.EPERM))
    with pytest.raises(PermissionError), lock(tmp_path):
        pass
    assert not is_held(tmp_path)


def failing(number):
    def flock(file, kind):
        raise OSError(number, os.strerror(number))

    return flock
