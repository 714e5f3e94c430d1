"""The build and its cache, on three lines of C++ that compile in half a second. The real kernels go the same way."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dssl_ops import _build, _cache

TINY = """#include <Python.h>
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, -1, nullptr};
PyMODINIT_FUNC PyInit__core() { return PyModule_Create(&definition); }
"""
PRINTS = """#include <Python.h>
#include <sstream>
static PyObject* text(PyObject*, PyObject*) {
  std::ostringstream stream;
  stream << 2.5 << ", " << 42;
  return PyUnicode_FromString(stream.str().c_str());
}
static PyMethodDef methods[] = {{"text", text, METH_NOARGS, nullptr}, {}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, -1, methods};
PyMODINIT_FUNC PyInit__core() { return PyModule_Create(&definition); }
"""

# argv: directory with the sources, directory that stands for the package (a prebuilt binary would lie there)
LOAD = """
import sys
from pathlib import Path
from dssl_ops import _build, _cache
_build.SOURCE_ROOT, _build.PACKAGE = map(Path, sys.argv[1:])
print(_build.load().__file__)
"""

needs_compiler = pytest.mark.skipif(_build.compiler() is None, reason="no C++ compiler on PATH")


@pytest.fixture
def house(tmp_path):
    """Sources, package and cache of an installation; the space in the path is part of every test."""
    root = tmp_path / "a house"
    for name in ("csrc", "package", "cache"):
        (root / name).mkdir(parents=True)
    (root / "cache").chmod(0o700)
    (root / "csrc" / "core.cpp").write_text(TINY)
    return root


def start(house, script=LOAD, **environment):
    """A fresh Python that runs script; a variable given as None is unset."""
    settings = {"TORCH_EXTENSIONS_DIR": str(house / "cache"), "DSSL_OPS_BACKEND": None, **environment}
    settings = {**os.environ, **settings}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(house / "csrc"), str(house / "package")],
        env={name: value for name, value in settings.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def load(house, **environment):
    """Path of the binary that a fresh process loads, and whether that process built it."""
    code, out, err = finish(start(house, **environment))
    assert code == 0, err
    return Path(out.strip()), "built in" in err


@needs_compiler
def test_four_processes_build_once(house):
    results = [finish(process) for process in [start(house) for _ in range(4)]]
    assert [code for code, _, _ in results] == [0] * 4, results
    assert sum("built in" in err for _, _, err in results) == 1
    assert len({out for _, out, _ in results}) == 1


@needs_compiler
def test_one_line_tells_what_was_built_and_a_warm_start_is_silent_and_light(house):
    code, out, err = finish(start(house))
    assert code == 0, err
    line = r"dssl_ops: building CPU kernels \.\.\. built in \d+\.\d s \(cached in .*\)\n"
    assert re.fullmatch(line, err), err
    assert (house / "cache" / "dssl_ops").stat().st_mode & 0o777 == 0o700
    light = LOAD + "assert 'torch.utils.cpp_extension' not in sys.modules"  # its import alone takes 0.3 s
    assert finish(start(house, light)) == (0, out, "")


@needs_compiler
def test_killed_build_does_not_disturb_the_next(house):
    stuck, compiler = house / "stuck", house.parent / "slow-c++"
    started = house / "started"
    stuck.touch()
    compiler.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *core.cpp*) touch "{started}"; while [ -e "{stuck}" ]; do sleep 0.1; done;; esac\n'
        f'exec {shlex.join(_build.compiler())} "$@"\n'
    )
    compiler.chmod(0o755)
    process = start(house, CXX=str(compiler))
    wait_for(started)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    stuck.unlink()  # also frees the compiler, which ninja had put into a process group of its own
    binary, built = load(house, CXX=str(compiler))
    assert built
    assert sorted(path.name for path in binary.parent.iterdir()) == ["_core.json", "_core.so", "lock"]


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


@needs_compiler
def test_damaged_binary_is_rebuilt(house):
    binary, _ = load(house)
    content = binary.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for damaged in (content[:4096], flipped):
        binary.write_bytes(damaged)
        assert load(house) == (binary, True)
    binary.with_suffix(".json").write_text("{")
    assert load(house) == (binary, True)


@needs_compiler
def test_changed_content_is_rebuilt_and_changed_times_are_not(house):
    old, _ = load(house)
    source = house / "csrc" / "core.cpp"
    os.utime(source, (2**32, 2**32))
    assert load(house) == (old, False)
    source.write_text(TINY + "// changed\n")
    new, built = load(house)
    assert built and new != old and old.exists()


@needs_compiler
def test_compile_error_is_one_message_with_the_log(house):
    (house / "csrc" / "core.cpp").write_text("not C++\n")
    code, _, err = finish(start(house))
    assert code == 1
    assert "RuntimeError: dssl_ops: the kernels did not compile; whole output in" in err
    assert "core.cpp:1:1" in err
    log = Path(re.search(r"whole output in (.*build\.log)", err)[1])
    assert "core.cpp:1:1" in log.read_text()


@needs_compiler
def test_prebuilt_binary_serves_without_compiler_while_it_fits(house):
    binary, _ = load(house)
    for path in (binary, binary.with_suffix(".json")):
        shutil.copy(path, house / "package")
    prebuilt = house / "package" / binary.name
    assert load(house, PATH="/nowhere", CXX=None) == (prebuilt, False)
    receipt = prebuilt.with_suffix(".json")
    receipt.write_text(re.sub('"torch": "[^"]+"', '"torch": "2.10.0"', receipt.read_text()))
    assert load(house, PATH="/nowhere", CXX=None) == (prebuilt, False)  # the stable ABI: any torch from 2.10 on
    (house / "csrc" / "core.cpp").write_text(TINY + "// changed\n")
    assert load(house)[0] != prebuilt


SERVE = """
import json, sys, warnings
from pathlib import Path
from dssl_ops import _build, _library
_build.SOURCE_ROOT, _build.PACKAGE = map(Path, sys.argv[1:])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch
    from dssl_ops import directional_loss
    views = list(torch.eye(4).expand(4, 4, 4).clone())
    print(_library.native(), [directional_loss(views, views).item() for _ in range(2)])
print(json.dumps([str(warning.message) for warning in caught]))
"""


def test_without_compiler_the_references_serve_after_one_warning(house):
    code, out, err = finish(start(house, SERVE, PATH="/nowhere", CXX=None))
    assert code == 0, err
    served, warned = out.splitlines()
    assert served == "False [-2.0, -2.0]"
    assert len(json.loads(warned)) == 1 and "no C++ compiler found; install one" in warned
    code, out, err = finish(start(house, SERVE, PATH="/nowhere", CXX=None, DSSL_OPS_BACKEND="native"))
    assert code == 1 and "NoCompiler: dssl_ops: no C++ compiler found; install one" in err


def test_backend_reference_neither_builds_nor_warns(house):
    code, out, err = finish(start(house, SERVE, DSSL_OPS_BACKEND="reference"))
    assert (code, out, err) == (0, "False [-2.0, -2.0]\n[]\n", "")
    assert not list((house / "cache").iterdir())


def test_unknown_backend_is_refused(house):
    code, _, err = finish(start(house, SERVE, DSSL_OPS_BACKEND="cuda"))
    assert code == 1 and "DSSL_OPS_BACKEND must be native or reference; got 'cuda'" in err


def test_key_follows_content_not_names(house, monkeypatch):
    monkeypatch.setattr(_build, "SOURCE_ROOT", house / "csrc")

    def key():
        return _cache.key(_build.recipe())

    before = key()
    assert key() == before
    with monkeypatch.context() as patch:
        patch.setattr(_build, "FLAGS", (*_build.FLAGS, "-DX"))
        assert key() != before
    (house / "csrc" / "room").mkdir()
    (house / "csrc" / "room" / "room.h").write_text("// a header counts")
    assert key() != before


def test_cache_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert _cache.cache_root() == tmp_path / "xdg" / "dssl_ops"
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "torch"))
    assert _cache.cache_root() == tmp_path / "torch" / "dssl_ops"
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _cache.cache_root() == tmp_path / ".cache" / "dssl_ops"


def test_unwritable_or_foreign_cache_gives_a_private_temporary_one(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/proc/nobody-writes-here")
    monkeypatch.setattr(_cache.tempfile, "tempdir", str(tmp_path))
    root = _cache.cache_root()
    assert root == tmp_path / f"dssl_ops-{os.getuid()}" == _cache.cache_root()
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)  # others could have put code there
    assert _cache.cache_root() not in (root, None)


def test_cmake_compiles_with_the_same_flags():
    cmake = (Path(__file__).parent.parent / "CMakeLists.txt").read_text()
    flags = re.search(r"set\(FLAGS (.*?)\)", cmake, re.S)[1].split()
    standard = "-std=c++" + re.search(r"CMAKE_CXX_STANDARD (\d+)", cmake)[1]
    assert {*flags, standard} == set(_build.FLAGS)
    if sys.platform == "linux":
        assert re.findall(r"target_link_options\(dssl_ops PRIVATE (.*)\)", cmake) == [*_build.LINK_FLAGS]


@needs_compiler
def test_a_compiler_command_with_arguments_is_taken(house):
    binary, built = load(house, CXX=f"env A='b c' {shutil.which('c++')}")
    assert built and load(house, CXX=f"env A='b c' {shutil.which('c++')}") == (binary, False)


def has_static_library():
    command = [shutil.which("c++") or "false", "-print-file-name=libstdc++.a"]
    return "/" in subprocess.run(command, capture_output=True, text=True).stdout


@needs_compiler
@pytest.mark.skipif(not has_static_library(), reason="the compiler has no libstdc++.a")
def test_streams_outlive_a_static_cpp_library(house):
    """Beside torch's copy such a stream printed nothing, or crashed (GCC 13, on a machine with a GPU)."""
    (house / "csrc" / "core.cpp").write_text(PRINTS)
    command = f"{shutil.which('c++')} -static-libstdc++"
    code, out, err = finish(start(house, f"import torch\n{LOAD}\nprint(_build.load().text())", CXX=command))
    assert code == 0 and out.splitlines()[-1] == "2.5, 42", (code, out, err)


def test_info_reports_a_compiler_that_fails(house):
    settings = os.environ | {"CXX": "/bin/false", "TORCH_EXTENSIONS_DIR": str(house / "cache")}
    answer = subprocess.run([sys.executable, "-m", "dssl_ops", "info"], capture_output=True, text=True, env=settings)
    assert answer.returncode == 0 and "failed (dssl_ops: the kernels did not compile" in answer.stdout
    assert re.search(rf"^environment: .*CXX=/bin/false.*TORCH_EXTENSIONS_DIR={house}", answer.stdout, re.M)
