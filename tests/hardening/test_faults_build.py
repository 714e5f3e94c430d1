"""Faults of the build and its cache: what happens to the disk, the compiler, the clock, the paths, the permissions.

test_build.py has the killed build, the damaged binary and the environment. Here a start is a fork of this process.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time

import pytest
import test_build
from forks import exit_code, finish, forked, limit, load, start
from test_build import LOAD, TINY, needs_compiler

from dssl_ops import _build, _cache, _library

house = test_build.house
pytestmark = needs_compiler
more = pytest.mark.exhaustive


def error_of(code, err):
    """The last lines of a Python that ended with a RuntimeError of ours."""
    assert code == 1 and "\nRuntimeError: dssl_ops: " in err, err
    assert err.count("Traceback") == 1, err
    return err.partition("\nRuntimeError: ")[2]


@more
def test_eight_processes_build_once(house):
    results = [finish(process) for process in [start(house) for _ in range(8)]]
    assert [code for code, _, _ in results] == [0] * 8, results
    assert sum("built in" in err for _, _, err in results) == 1
    assert len({out for _, out, _ in results}) == 1


@more
def test_two_versions_side_by_side(house):
    """Two trees and one cache, four processes at once: each gets its own, and both stay."""
    other = house.parent / "another house"
    shutil.copytree(house, other)
    (other / "csrc" / "core.cpp").write_text(TINY + "// the next version\n")
    cache = {"TORCH_EXTENSIONS_DIR": str(house / "cache")}
    results = [finish(process) for process in [start(place, **cache) for place in (house, other) * 2]]
    paths = [out for code, out, _ in results]
    assert [code for code, _, _ in results] == [0] * 4
    assert paths[:2] == paths[2:] and paths[0] != paths[1]
    assert load(house, **cache)[1] is False and load(other, **cache)[1] is False


@pytest.mark.parametrize("place", ["csrc", "cache"])
@pytest.mark.parametrize(
    "name", ["C: $HOME | Jürgen's 目录", *(pytest.param(name, marks=more) for name in ("a; touch x", "a`touch x`"))]
)
def test_paths_with_any_letters(house, place, name):
    (house / place).rename(house / name)

    def change():
        if place == "csrc":
            _build.SOURCE_ROOT = house / name

    cache = house / (name if place == "cache" else "cache")
    binary, built = load(house, change, TORCH_EXTENSIONS_DIR=str(cache), TMPDIR=str(house.parent))
    assert built and binary.is_relative_to(house.parent) and not list(house.parent.rglob("x"))


@more
def test_letters_that_the_locale_does_not_have(house):
    cache = house / "目录"
    cache.mkdir()
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "TMPDIR": str(house.parent)}
    settings = os.environ | plain | {"TORCH_EXTENSIONS_DIR": str(cache)}
    command = [sys.executable, "-c", LOAD, str(house / "csrc"), str(house / "package")]
    done = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# not even the log; not the ninja file; not the binary
@pytest.mark.parametrize("most", [0, pytest.param(100, marks=more), pytest.param(4000, marks=more)])
def test_full_disk_is_one_error_and_the_next_start_builds(house, most):
    code, _, err = finish(start(house, limit(most)))
    assert "did not compile" in error_of(code, err)
    assert not list((house / "cache").rglob("build-*")) and not list((house / "cache").rglob("*.so"))
    assert load(house)[1] is True


def test_cache_that_takes_no_more_entries_is_one_error(house):
    """A disk without inodes."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    code, _, err = finish(start(house, lambda: setattr(_build.tempfile, "mkdtemp", full)))
    assert "cannot keep the kernels in" in error_of(code, err) and "$TORCH_EXTENSIONS_DIR names another" in err


def test_killed_compiler_is_one_error_and_the_next_start_builds(house):
    compiler = house.parent / "c++"  # ccache, where there is one, takes no space in its path
    real = shlex.join(_build.compiler())
    dies = house / "dies"
    dies.touch()
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *core.o*) [ -e {shlex.quote(str(dies))} ] && kill -9 $$;; esac\nexec {real} "$@"\n'
    )
    compiler.chmod(0o755)
    settings = {"CXX": str(compiler)}
    code, _, err = finish(start(house, **settings))
    assert "did not compile" in error_of(code, err)
    dies.unlink()
    assert load(house, **settings)[1] is True and load(house, **settings)[1] is False


@pytest.mark.parametrize("years", [pytest.param(-30, marks=more), 30])
def test_clock_skew(house, years):
    """Sources, cache and lock of another time: nothing is built for ever, nor twice."""
    when = time.time() + years * 365 * 86400
    for path in (house / "csrc" / "core.cpp", house / "csrc", house / "cache"):
        os.utime(path, (when, when))
    binary, built = load(house)
    assert built
    for path in [binary, *binary.parent.iterdir(), binary.parent]:
        os.utime(path, (when, when))
    assert load(house) == (binary, False)


def test_read_only_home(house):
    """/proc takes no directory, not even from root."""
    settings = {"TORCH_EXTENSIONS_DIR": None, "XDG_CACHE_HOME": None, "HOME": "/proc/sys", "TMPDIR": str(house.parent)}
    settings["CCACHE_DIR"] = str(house / "ccache")  # which torch's builder uses where there is one
    binary, built = load(house, **settings)
    assert built and binary.is_relative_to(house.parent / f"dssl_ops-{os.getuid()}")
    assert load(house, **settings) == (binary, False)


def test_user_without_a_home(tmp_path, monkeypatch):
    """As `docker run --user 1234`."""
    for name in ("HOME", "XDG_CACHE_HOME", "TORCH_EXTENSIONS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["no such user"])
    monkeypatch.setattr(_cache.tempfile, "tempdir", str(tmp_path))
    assert _cache.cache_root() == tmp_path / f"dssl_ops-{os.getuid()}"


# ---- who else may write there


def test_cache_is_closed_to_others(house):
    (house / "cache" / "dssl_ops").mkdir(mode=0o755)
    binary, _ = load(house)
    for path in (binary.parent.parent, binary.parent):
        assert path.stat().st_mode & 0o777 == 0o700
    (house / "csrc" / "core.cpp").write_text(TINY + "// changed\n")
    binary, built = load(house, lambda: os.umask(0))
    assert built and binary.stat().st_mode & 0o022 == 0
    assert load(house) == (binary, False)


@pytest.mark.parametrize("what", ["_core.so", pytest.param("_core.json", marks=more)])
@pytest.mark.parametrize("how", ["writable", "link", "foreign"])
def test_what_others_may_have_written_is_not_loaded(house, what, how):
    binary, _ = load(house)
    path = binary.parent / what
    if how == "writable":
        path.chmod(0o777)
    elif how == "link":
        path.rename(house / what)
        path.symlink_to(house / what)
    elif os.getuid() == 0:
        os.chown(path, 65534, 65534)
    else:
        pytest.skip("only root can give files away")
    assert load(house) == (binary, True)
    assert load(house) == (binary, False)


def test_place_from_which_others_may_move_ours_away(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(shared))
    monkeypatch.setattr(_cache.tempfile, "tempdir", str(tmp_path))
    shared.chmod(0o777)
    assert _cache.cache_root().parent == tmp_path
    shared.chmod(0o1777)
    assert _cache.cache_root().parent == shared


def test_entry_that_others_may_write_to_is_refused(house):
    binary, _ = load(house)
    binary.parent.chmod(0o777)
    code, _, err = finish(start(house))
    assert "others may write to" in error_of(code, err)


# ---- threads and forks while it builds


def test_environment_of_other_threads_stays_while_it_builds(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "env A=b c++")
    monkeypatch.delenv("SOMETHING", raising=False)

    def clear():
        raise AssertionError("another thread would find an empty environment")

    monkeypatch.setattr(os.environ, "clear", clear)
    before = dict(os.environ)
    with _build.toolchain(tmp_path):
        assert os.environ["CXX"] == str(tmp_path / "c++")
        os.environ["SOMETHING"] = "set by another thread"
    assert dict(os.environ) == before | {"SOMETHING": "set by another thread"}


def test_lock_is_free_although_a_child_that_was_forked_meanwhile_lives(tmp_path):
    with _cache._locked(tmp_path / "lock"):
        pid = forked(lambda: time.sleep(60))
    try:
        with open(tmp_path / "lock", "w") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError if it is held
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def test_child_forked_while_another_thread_decides(monkeypatch):
    """The thread that holds the lock is not in the child, which would wait for it for ever."""
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with _library._lock:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    monkeypatch.setattr(_library, "_state", None)
    monkeypatch.setenv("DSSL_OPS_BACKEND", "reference")
    pid = forked(lambda: 7 + _library.native())
    code = exit_code(pid, 30)
    leave.set()
    thread.join()
    assert code == 7
