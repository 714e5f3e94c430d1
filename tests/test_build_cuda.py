"""The build of the CUDA kernels: finding nvcc and binaries, what happens without; the build itself needs no GPU."""

import contextlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from checks import needs_native
from test_cuda_gate import disassembler
from torch._subclasses import FakeTensorMode

from dssl_ops import _build, _build_cuda, _cache, _library, barlow_twins, directional_loss, jigsaw, nt_xent

needs_nvcc = pytest.mark.skipif(
    _build_cuda.toolkit() is None or torch.version.cuda is None or _build.compiler() is None,
    reason="no nvcc, or torch without CUDA",
)
WANTED = {"sources": "a", "nvcc": "13"}


@pytest.fixture
def nowhere(monkeypatch):
    """No toolkit is set, on PATH or installed by pip."""
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(_build_cuda, "_pip_roots", list)


def toolkit(root):
    """A toolkit as far as looking for one goes."""
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "nvcc").touch(mode=0o755)
    return root


def test_toolkit_is_found_behind_a_wrapper(tmp_path, monkeypatch, nowhere):
    there = toolkit(tmp_path / "a toolkit")
    wrapper = tmp_path / "wrapper" / "nvcc"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "#$ _HERE_={there}/bin" >&2\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(wrapper.parent))
    assert _build_cuda.toolkit() == there


def test_a_wrong_home_does_not_hide_the_next_toolkit(tmp_path, monkeypatch, nowhere):
    assert _build_cuda.toolkit() is None
    pip = toolkit(tmp_path / "nvidia" / "cu13")
    monkeypatch.setattr(_build_cuda, "_pip_roots", lambda: [tmp_path / "other", pip])
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "gone"))
    assert _build_cuda.toolkit() == pip
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path / "home")))
    assert _build_cuda.toolkit() == tmp_path / "home"


def library(folder, name, made_from=WANTED):
    """A binary as far as looking for one goes."""
    binary = folder / name
    binary.write_bytes(b"kernels")
    binary.with_suffix(".json").write_text(json.dumps({"recipe": made_from, "sha256": _cache.checksum(binary)}))
    return binary


def test_a_binary_serves_the_architectures_it_holds(tmp_path):
    binary = library(tmp_path, "_cuda_80_90.so")

    def covering(architectures, **changed):
        return _build_cuda._covering(tmp_path, architectures, {**WANTED, **changed}, _build_cuda.EXACTLY)

    for architectures in (["9.0"], ["8.0"], ["8.0", "9.0"]):
        assert covering(architectures) == binary
    assert covering(["8.6", "9.0"]) is None
    assert covering(["9.0"], sources="b") is None
    assert covering(["9.0"], nvcc="12") is None
    assert covering(["9.0"], nvcc=None) == binary  # prebuilt, no nvcc here


@pytest.mark.parametrize(
    "architectures, how",
    [
        (["8.0"], "EXACTLY"),
        (["8.6"], "BY_CODE"),  # machine code runs on later minor versions of its major one
        (["8.9", "9.0"], "BY_CODE"),
        (["10.0"], "BY_PTX"),  # of 9.0
        (["12.0", "8.0"], "BY_PTX"),
        (["7.5"], "NOT_AT_ALL"),
        (["7.5", "9.0"], "NOT_AT_ALL"),
    ],
)
def test_a_binary_serves_later_architectures(tmp_path, architectures, how):
    binary, worst = library(tmp_path, "_cuda_80_90.so"), getattr(_build_cuda, how)
    assert _build_cuda._covering(tmp_path, architectures, WANTED, worst - 1) is None
    assert _build_cuda._covering(tmp_path, architectures, WANTED, worst) == binary


def test_the_closest_binary_serves(tmp_path):
    names = ("_cuda_75.so", "_cuda_80.so", "_cuda_80_86.so")
    binaries = [library(tmp_path, name) for name in names]
    for architecture, closest in (("7.5", 0), ("8.0", 1), ("8.6", 2), ("8.7", 1), ("9.0", 0)):
        assert _build_cuda._covering(tmp_path, [architecture], WANTED, _build_cuda.BY_PTX) == binaries[closest]


def test_a_prebuilt_binary_serves_by_its_ptx_where_there_is_no_nvcc(tmp_path, monkeypatch, nowhere):
    recipe = {**_build_cuda.recipe(), "nvcc": "that of the packager", "compiler": "g++"}
    binary, loaded = library(tmp_path, "_cuda_80.so", recipe), []
    monkeypatch.setattr(_build, "PACKAGE", tmp_path)
    monkeypatch.setattr(torch.ops, "load_library", loaded.append)
    assert _build_cuda.load(["8.6"]) == _build_cuda.load(["9.0"]) == binary and loaded == [binary, binary]
    with pytest.raises(_build_cuda.NoToolkit):
        _build_cuda.load(["7.5"])


@pytest.mark.skipif(torch.version.cuda is None, reason="torch without CUDA")
def test_without_nvcc_one_line_says_what_to_install(nowhere):
    with pytest.raises(_build_cuda.NoToolkit, match=r"no .* found for the CUDA kernels; install the CUDA \d+\.\d+ "):
        _build_cuda.load(["9.0"])


@needs_native
def test_without_nvcc_the_references_serve_cuda_tensors_after_one_warning(monkeypatch):
    def missing(architectures):
        raise _build_cuda.NoToolkit("dssl_ops: no nvcc")

    monkeypatch.setattr(_library, "_cuda_state", None)
    monkeypatch.setattr(_build_cuda, "visible", lambda: ["9.0"])
    monkeypatch.setattr(_build_cuda, "load", missing)
    monkeypatch.setenv("DSSL_OPS_BACKEND", "native")
    with pytest.raises(_build_cuda.NoToolkit):
        _library.native(torch.device("cuda"))
    monkeypatch.delenv("DSSL_OPS_BACKEND")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [_library.native(torch.device("cuda", 0)) for _ in range(2)] == [False, False]
    assert [str(warning.message) for warning in caught] == [
        "dssl_ops: no nvcc. Until then the slower references serve CUDA tensors."
    ]
    assert _library.native() and _library.native(torch.device("cpu"))


@needs_native
@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_fake_and_meta_tensors_need_no_gpu(monkeypatch, device):
    """Their shapes come from Python: nothing is built for them."""
    monkeypatch.setattr(_library, "_cuda_state", None)
    monkeypatch.setattr(_build_cuda, "visible", list)
    with FakeTensorMode() if device == "cuda" else contextlib.nullcontext():
        views = [torch.randn(6, 8, device=device, requires_grad=True) for _ in range(4)]
        images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8, device=device)
        permutation = torch.zeros(2, 4, dtype=torch.int64, device=device)
        losses = [directional_loss(views, views[:2]), nt_xent(*views[:2]), barlow_twins(*views[2:])]
        assert [(loss.device.type, loss.shape) for loss in losses] == [(device, ())] * 3
        assert jigsaw(images, 2, permutation).shape == images.shape
        if device == "meta":  # torch's backward looks for the GPU itself
            sum(losses).backward()
            assert all(view.grad.shape == view.shape and view.grad.is_meta for view in views)


def test_the_cpu_kernels_do_not_depend_on_cuda_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(_build, "SOURCE_ROOT", tmp_path)
    (tmp_path / "op").mkdir()
    for name in ("op.h", "op_cpu.cpp", "op_cuda.cpp", "op_cuda.h", "op_cuda.cu", "tile.cuh"):
        (tmp_path / "op" / name).write_text("before")

    def changed(name):
        before = _build.recipe()["sources"], _build_cuda.recipe()["sources"]
        (tmp_path / "op" / name).write_text("after")
        after = _build.recipe()["sources"], _build_cuda.recipe()["sources"]
        return [one != other for one, other in zip(before, after)]

    assert changed("op.h") == [True, True]
    assert changed("op_cpu.cpp") == [True, False]
    for name in ("op_cuda.cpp", "op_cuda.h", "op_cuda.cu", "tile.cuh"):
        assert changed(name) == [False, True], name


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--cuda", "--arch", "sm_90"], "--arch takes compute capabilities such as 9.0; got sm_90"),
        (["--arch", "9.0"], "--arch goes with --cuda"),
    ],
)
def test_build_refuses_in_one_line(arguments, message):
    answer = command("build", *arguments)
    assert answer.returncode == 1 and answer.stderr == f"dssl_ops: {message}\n"


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "dssl_ops", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@needs_nvcc
@needs_native
@pytest.mark.slow
def test_built_ahead_without_a_gpu(tmp_path):
    """The CPU part comes from the cache of these tests; the CUDA part is compiled."""
    core = Path(_library.core().__file__)
    target = tmp_path / "dssl_ops" / core.parent.name
    target.mkdir(mode=0o700, parents=True)
    target.parent.chmod(0o700)
    for path in (core, core.with_suffix(".json")):
        (target / path.name).write_bytes(path.read_bytes())
    answer = command("build", "--cuda", "--arch", "9.0", TORCH_EXTENSIONS_DIR=str(tmp_path), DSSL_OPS_BACKEND="")
    assert answer.returncode == 0, answer.stderr
    built = r"dssl_ops: building CUDA kernels for 9\.0 \.\.\. built in \d+\.\d s \(cached in .*\)\n"
    assert re.fullmatch(built, answer.stderr)
    binary = answer.stdout.splitlines()[-1]
    assert binary.endswith("_cuda_90.so")
    if program := disassembler():
        listing = subprocess.run([program, "-lelf", "-lptx", binary], capture_output=True, text=True).stdout
        kernels = len(_build_cuda.sources()) // 2
        assert listing.count(".sm_90.cubin") == listing.count(".sm_90.ptx") == kernels, listing
    torch.ops.load_library(binary)
    assert torch._C._dispatch_has_kernel_for_dispatch_key("dssl_ops::jigsaw", "CUDA")
