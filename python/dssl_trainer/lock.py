"""A lock per run folder: of several processes, also on several machines that share the folder, one trains in it."""

import contextlib
import fcntl

from .errors import TrainerError

held = set()  # by this process, which would else wait for itself: `dssl reproduce` holds a run's while it trains


@contextlib.contextmanager
def lock(folder):
    """True for the one who holds it; the kernel releases it when the process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder.resolve()
    if place in held:
        yield True
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        held.add(place)
        try:
            yield True
        finally:
            held.discard(place)


@contextlib.contextmanager
def alone(folder):
    """Raises TrainerError where another process trains in the folder."""
    with lock(folder) as mine:
        if not mine:
            raise TrainerError(f"out: another process trains in {folder}; wait for it, or use another --out")
        yield


def is_held(folder):
    try:
        with open(folder / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
