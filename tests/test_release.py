"""What is released: one version everywhere, a wheel that its sdist builds too, and that works without a compiler."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checks import needs_native

from dssl_ops import _build

ROOT = Path(__file__).resolve().parent.parent
PARTS = (".ci", "benchmarks", "csrc", "docs", "dssl_ops", "examples", "python", "reproduction", "tests")  # of the sdist
BESIDE = ("*.md", "*.cff", "*.toml", "*.py", "*.in", "*.txt", "LICENSE")
MADE = ("__pycache__", "*.egg-info", "*.so", "pictures", "quick")  # by a build or a run, beside the sources
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def build(kind, tree, out):
    """Calls the build backend as pip does, in the tree."""
    out.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "DSSL_OPS_PREBUILD"}
    command = [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{kind}", str(out)]
    subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The wheel, the sdist unpacked, and the wheel made of that."""
    tree = tmp_path_factory.mktemp("tree")
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns(*MADE))
    for file in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(file, tree)
    sdist = build("sdist", tree, tree.with_name("sdist"))
    shutil.unpack_archive(sdist, tree.with_name("unpacked"), filter="data")
    (unpacked,) = tree.with_name("unpacked").iterdir()
    return (build("wheel", tree, tree.with_name("wheel")), unpacked, build("wheel", unpacked, tree.with_name("again")))


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_sdist_builds_the_same_wheel(released):
    wheel, _, again = released
    assert wheel.name == again.name == f"dssl_ops-{_build.__version__}-py3-none-any.whl"
    assert contents(wheel) == contents(again)


def test_wheel_holds_sources_types_and_licence_and_nothing_else(released):
    names = set(contents(released[0]))
    for package, folder in (
        ("dssl_ops", "dssl_ops"),
        ("dssl_ops/csrc", "csrc"),
        ("dssl_trainer", "python/dssl_trainer"),
    ):
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()}
        sources = {
            f"{package}/{path}" for path in files if path.suffix in (".py", ".cpp", ".h", ".cu", ".cuh", ".typed")
        }
        assert sources <= names
        names -= sources
    info = f"dssl_ops-{_build.__version__}.dist-info"
    files = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    assert names == {f"{info}/{file}" for file in files}


def files_of(tree):
    """What lies in the parts and beside them, but for what a build or a run made."""
    found = [path for part in PARTS for path in (tree / part).rglob("*")]
    found += [path for pattern in BESIDE for path in tree.glob(pattern)]
    names = {path.relative_to(tree) for path in found if path.is_file()}
    return {name for name in names if not any(Path(part).match(made) for part in name.parts for made in MADE)}


def test_sdist_holds_all_that_its_tests_read(released):
    assert files_of(ROOT) - files_of(released[1]) == set()


def test_one_version_everywhere(released):
    wheel = contents(released[0])
    metadata = wheel[f"dssl_ops-{_build.__version__}.dist-info/METADATA"].decode()
    found = {
        "metadata": re.search(r"^Version: (.+)$", metadata, re.M)[1],
        "citation": re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)[1],
        "changelog": re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1],
    }
    assert found == dict.fromkeys(found, _build.__version__)


WITHOUT_COMPILER = """
import shutil, warnings
assert not any(map(shutil.which, ("c++", "g++", "gcc", "git", "ninja")))
import torch
import dssl_ops
from dssl_ops import transforms as T
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    rows = list(torch.eye(8).expand(4, 8, 8).clone())
    print(dssl_ops.directional_loss(rows, rows).item(), dssl_ops.nt_xent(*rows[:2]).item() < 2)
images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
views = T.DirectedViews(T.StandardView(16), T.policy("RA(2,5)+Jigsaw(4)"))(images, seed=0)
print([tuple(view.shape) for view in views], sum("no C++ compiler" in str(w.message) for w in caught))
print(dssl_ops.__file__)
"""


def test_installed_wheel_works_without_compiler_and_git(released, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    environment = {"PATH": str(empty), "PYTHONPATH": str(site), "TORCH_EXTENSIONS_DIR": str(tmp_path / "cache")}
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(released[0])]
    for arguments in (pip, ["-c", WITHOUT_COMPILER]):
        ran = subprocess.run(
            [sys.executable, *arguments], cwd=empty, env=environment, check=True, capture_output=True, text=True
        )
    losses, views, file = ran.stdout.splitlines()
    assert losses == "-2.0 True" and views == f"{[(2, 3, 16, 16)] * 4} 1"
    assert Path(file).is_relative_to(site)


@needs_native
def test_binary_asks_torch_for_its_stable_interface_only():
    """C functions of torch, the same in every version from 2.10 on, and nothing of its C++ namespaces."""
    command = ["nm", "-D", "--undefined-only", _build.load().__file__]
    symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert any(symbol.startswith("aoti_torch_") for symbol in symbols)
    assert [symbol for symbol in symbols if re.search(r"(2at|3c10|5torch)\d", symbol)] == []  # at::, c10::, torch::
