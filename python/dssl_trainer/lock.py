"""A lock per run folder: of several processes, also on several machines that share the folder, one trains in it."""

import contextlib
import errno
import fcntl
import os

held = set()  # by this process, which would else wait for itself: `dssl reproduce` holds a run's while it trains
os.register_at_fork(after_in_child=held.clear)
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # of a file system that has none


@contextlib.contextmanager
def lock(folder):
    """True for the one who holds it. The kernel releases it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    if place in held:
        yield True
        return
    with open(folder / ".lock", "w") as file:
        if not taken(file, fcntl.LOCK_EX):
            yield False
            return
        held.add(place)
        try:
            yield True
        finally:
            held.discard(place)
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a child has the file, too


def taken(file, kind):
    """False where another has it. On a file system without locks everyone may go on."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
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
