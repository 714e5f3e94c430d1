"""A lock per run folder: of several processes, also on several machines that share the folder, one trains in it."""

import contextlib
import errno
import fcntl
import os
import time
from pathlib import Path

# Folders locked by this process, which would else refuse itself: `dssl reproduce` holds a run's while it trains.
held: set[Path] = set()
os.register_at_fork(after_in_child=held.clear)
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of a file system that has none


@contextlib.contextmanager
def lock(folder):
    """True for the process that holds it. The kernel releases it when that process and all that it forked have ended,
    however they end. Raises OSError where the file cannot be made or locked."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    if place in held:
        yield True
        return
    with open(folder / ".lock", "w") as file:
        if not taken_soon(file):
            yield False
            return
        held.add(place)
        try:
            yield True
        finally:
            if place in held:  # not in a forked child, which leaves by the same way
                held.discard(place)
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a child has the file, too


def taken_soon(file):
    """Not at once: another may only be looking."""
    for _ in range(3):
        if taken(file, fcntl.LOCK_EX):
            return True
        time.sleep(0.02)
    return False


def taken(file, kind):
    """False where another has it. On a file system without locks everyone may go on."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def is_held(folder):
    try:
        with open(folder / ".lock") as file:
            return not taken(file, fcntl.LOCK_SH)
    except OSError:
        return False
