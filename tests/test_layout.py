"""The house rules that a reviewer would otherwise watch: one stem per room, arrows in one direction, short files."""

import ast
import re
from pathlib import Path

import pytest

import dssl_ops

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
ROOMS = sorted({path.parent.name for path in CSRC.glob("*/*.cpp")})
CPP = sorted(path for path in CSRC.rglob("*") if path.suffix in (".cpp", ".h", ".cu", ".cuh"))
PYTHON = sorted(p for wing in ("dssl_ops", "python", "tests", "benchmarks") for p in (ROOT / wing).rglob("*.py"))


def relative(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def own_includes(path):
    """Files of ours that path includes."""
    names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.M)
    return [(path.parent / name).resolve() if (path.parent / name).exists() else CSRC / name for name in names]


def imports(path):
    """Dotted names that path imports: `from a.b import c` gives a.b.c."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_its_stem_in_every_wing(room):
    wings = [CSRC / room / f"{room}.h", CSRC / room / f"{room}_cpu.cpp", ROOT / "dssl_ops" / f"{room}.py"]
    wings.append(ROOT / "tests" / f"test_{room}.py")
    if list((ROOT / "benchmarks").glob("bench_*.py")):
        wings.append(ROOT / "benchmarks" / f"bench_{room}.py")
    assert [path for path in relative(wings) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("path", CPP, ids=relative(CPP))
def test_rooms_include_only_themselves_and_common(path):
    room = path.parent.name
    allowed = {"common", room} if path.parent != CSRC else {"common", *ROOMS}
    assert [str(include) for include in own_includes(path) if include.parent.name not in allowed] == []


TORCH_FREE = [path for path in CPP if path.suffix != ".cpp" and not path.name.startswith("checks")]


@pytest.mark.parametrize("path", TORCH_FREE, ids=lambda p: p.name)
def test_maths_headers_and_kernels_know_no_torch(path):
    assert re.findall(r'#\s*include\s*[<"](?:torch|ATen|c10)/.*', path.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "python").rglob("*.py")), ids=lambda p: p.name)
def test_trainer_uses_public_names_only(path):
    ours = [name for name in imports(path) if name.split(".")[0] == "dssl_ops"]
    assert [name for name in ours if any(part.startswith("_") for part in name.split("."))] == []


def test_setup_finds_every_package():
    """find_packages leaves a folder without __init__.py out of the wheel, and only an installed copy shows it."""
    folders = {path.parent for wing in ("dssl_ops", "python/dssl_trainer") for path in (ROOT / wing).rglob("*.py")}
    assert relative(folder for folder in folders if not (folder / "__init__.py").exists()) == []


def test_library_does_not_know_the_trainer():
    library = (ROOT / "dssl_ops").rglob("*.py")
    assert relative(path for path in library if any("dssl_trainer" in name for name in imports(path))) == []


def test_files_stay_short():
    files = [*CPP, *PYTHON, *(ROOT / "tests").rglob("*.cpp"), *(ROOT / "tests").rglob("*.h")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_table_of_contents_is_complete_and_sorted():
    tree = ast.parse((ROOT / "dssl_ops" / "__init__.py").read_text())
    reexports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    bound = {alias.asname or alias.name for node in reexports for alias in node.names}
    assert dssl_ops.__all__ == sorted(dssl_ops.__all__)
    assert set(dssl_ops.__all__) == bound


def test_the_engine_lists_the_same_steps_in_the_same_order():
    names = re.search(r"kOpcodeNames\[kOpcodes\] = \{(.*?)\}", (CSRC / "augment" / "opcodes.h").read_text(), re.S)
    assert tuple(re.findall(r'"(\w+)"', names.group(1))) == dssl_ops.program.NAMES
