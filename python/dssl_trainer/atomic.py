"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def naming(path):
    """The error of a full disk does not say which file was being written: here it does."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


@contextlib.contextmanager
def replacing(path, mode="wb", **options):
    """A file beside `path` that takes its place at the end; after an error or a crash the old one stands."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        with naming(path), open(temporary, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder):
    """Removes what killed processes left of writing files in the folder."""
    for left in folder.glob("*.*.tmp"):
        pid = left.name.split(".")[-2]
        if pid.isdigit() and not is_running(int(pid)):
            left.unlink(missing_ok=True)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process's number
        pass
    return True


def remove(path):
    """Removes the file and what a killed process left of writing it."""
    for left in (path, *path.parent.glob(f"{path.name}.*.tmp")):
        left.unlink(missing_ok=True)
