"""Forks of this process, and builds in them: as fresh processes would make them, without the import of torch."""

import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from torch.utils import cpp_extension

from dssl_ops import _build


def forked(f):
    """Process id of a fork that calls f and ends with what it gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: there are threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = f() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return pid


def exit_code(pid, seconds):
    """What a fork ended with; None if it had not within so many seconds, and was killed."""
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        return None
    return os.waitstatus_to_exitcode(ended[1])


def start(place, change=lambda: None, **environment):
    """A fork that loads what `place` holds, as a fresh process would; a variable given as None is unset."""
    pipes = os.pipe(), os.pipe()

    def load_there():
        for number, (_, end) in enumerate(pipes, 1):
            os.dup2(end, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        for name, value in ({"TORCH_EXTENSIONS_DIR": str(place / "cache")} | environment).items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        cpp_extension.JIT_EXTENSION_VERSIONER.entries.clear()
        tempfile.tempdir = None
        _build.SOURCE_ROOT, _build.PACKAGE = place / "csrc", place / "package"
        change()
        print(_build.load().__file__)

    pid = forked(load_there)
    for _, end in pipes:
        os.close(end)
    return pid, [os.fdopen(end) for end, _ in pipes]


def finish(started):
    """Exit code, output, errors."""
    pid, outputs = started
    texts = []
    for output in outputs:
        with output:
            texts.append(output.read())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), *texts


def load(place, change=lambda: None, **environment):
    """Path of the binary that a fork loads, and whether it built it."""
    code, out, err = finish(start(place, change, **environment))
    assert code == 0, err
    return Path(out.strip()), "built in" in err


def limit(most):
    """No file grows beyond so many bytes: a full disk that needs no mount."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
