"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path


@contextlib.contextmanager
def replacing(path, mode="wb", **options):
    """A file beside `path` that takes its place at the end; after an error or a crash the old one stands."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove(path):
    """Removes the file and what a killed process left of writing it."""
    for left in (path, *path.parent.glob(f"{path.name}.*.tmp")):
        left.unlink(missing_ok=True)
