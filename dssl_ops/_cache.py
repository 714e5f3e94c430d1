"""Where binaries are kept, and why no other than our own is loaded from there.

An entry is a directory called after the hash of its recipe; it holds the binary, a receipt (recipe and checksum) and a
lock. File times decide nothing. SECURITY.md says what is checked before code is loaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import locale
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def cache_root() -> Path:
    """$TORCH_EXTENSIONS_DIR/dssl_ops if set, else dssl_ops in the user's cache, else a private temporary directory."""
    try:
        above = os.environ.get("TORCH_EXTENSIONS_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        return _temporary_root()
    root = Path(above) / "dssl_ops"
    return root if can_be_named(root) and _is_ours(root) else _temporary_root()


def _is_ours(folder: Path) -> bool:
    """Whether folder is a directory, made now if need be, that only we write to: code is loaded from there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if not os.access(folder, os.W_OK) or _is_foreign(status) or _anyone_may_rename_in(folder.parent):
            return False
        if status.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError:
        return False
    return True


def _is_foreign(status: os.stat_result) -> bool:
    """Whether somebody else owns it or may write to it."""
    return status.st_uid != os.getuid() or bool(status.st_mode & 0o022)


def _anyone_may_rename_in(folder: Path) -> bool:
    """In a directory that all may write to only the sticky bit, as of /tmp, keeps others from moving ours away."""
    return folder.stat().st_mode & 0o1002 == 0o0002


def can_be_named(path: Path) -> bool:
    """Whether build.ninja can: torch writes it in the locale's encoding and escapes nothing."""
    try:
        str(path).encode(locale.getpreferredencoding(False))
    except UnicodeEncodeError:
        return False
    return not set("$:|\n") & set(str(path))


def _temporary_root() -> Path:
    root = Path(tempfile.gettempdir()) / f"dssl_ops-{os.getuid()}"
    return root if not root.is_symlink() and _is_ours(root) else Path(tempfile.mkdtemp(prefix="dssl_ops-"))


def key(made_from: dict[str, str | None]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


def cached(wanted: dict[str, str | None], found: Callable, made: Callable) -> Any:
    """found(entry) if that gives something, else made(entry): one process makes, the others wait and find.

    Raises RuntimeError where the cache cannot be used, such as on a full disk.
    """
    entry = cache_root() / key(wanted)
    try:
        entry.mkdir(mode=0o700, exist_ok=True)
        _remove_foreign(entry)
        if there := found(entry):
            return there
        with _locked(entry / "lock"):
            return found(entry) or made(entry)  # another process may have built it while this one waited
    except OSError as error:
        raise RuntimeError(
            f"dssl_ops: cannot keep the kernels in {entry}: {error}; $TORCH_EXTENSIONS_DIR names another place"
        ) from None


def _remove_foreign(entry: Path) -> None:
    """Nothing is loaded that others wrote, or could have written while the directory was open to them; nor a link."""
    if _is_foreign(entry.stat()):
        raise PermissionError(f"others may write to {entry}")
    for path in [*entry.glob("*.so"), *entry.glob("*.json")]:
        with contextlib.suppress(FileNotFoundError):
            if _is_foreign(path.lstat()):  # a link's own mode is 0777
                path.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time. The kernel releases the lock when its holder dies, however it dies."""
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing is not enough where a child forked meanwhile has the file, too


def fits(binary: Path, wanted: dict[str, str | None], *ignored: str) -> bool:
    """Whether binary is whole and was made from what is wanted; mapping a cut-off file would end in SIGBUS."""
    try:
        receipt = json.loads(binary.with_suffix(".json").read_text())
        ignore = dict.fromkeys(ignored)
        return {**receipt["recipe"], **ignore} == {**wanted, **ignore} and receipt["sha256"] == checksum(binary)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def checksum(binary: Path) -> str:
    return hashlib.sha256(binary.read_bytes()).hexdigest()
