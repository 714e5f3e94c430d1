"""README and docs: their Python runs, page by page and block after block, their commands too, their links lead on."""

import ast
import pickle
import re
import shlex
import socket
from pathlib import Path

import pytest
import torch
from dssl_trainer.cli import main, parser
from dssl_trainer.data.cifar import TEST, TRAIN
from dssl_trainer.data.drawn import CLASSES, draw
from trainer_setup import TINY, options_for

ROOT = Path(__file__).resolve().parent.parent
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
# What a reader sees, what he does not (`<!-- python`: stand-ins for his data and networks), and a diff of his code.
BLOCK = re.compile(r"^(?:```|<!-- )(python|diff|sh)\n(.*?)^(?:```|-->)$", re.M | re.S)


def blocks(page, *kinds):
    found = [(match[1], match[2]) for match in BLOCK.finditer(PAGES[page].read_text()) if match[1] in kinds]
    return [text if kind != "diff" else after(text) for kind, text in found]


def after(diff):
    """What the diff leaves; what it takes away must be Python, too."""
    lines = diff.splitlines()
    ast.parse("\n".join(line[1:] for line in lines if line[:1] != "+"))
    return "\n".join(line[1:] for line in lines if line[:1] != "-")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a page's code wants the network"))
    torch.manual_seed(0)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_kind_that_runs(page):
    """Or of MyST's directives, or marked as text: ```bash would be left out in silence."""
    fences = re.findall(r"^```(\S+)", PAGES[page].read_text(), re.M)
    assert [kind for kind in fences if kind not in ("python", "diff", "sh", "text") and kind[0] != "{"] == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python", "diff")])
def test_python_of_a_page_runs(page, elsewhere):
    names = {"__name__": page}
    for number, block in enumerate(blocks(page, "python", "diff")):
        exec(compile(block, f"{page}, block {number + 1}", "exec"), names)


# ---- commands


def commands(page):
    """Every command of the page's sh blocks, without its comment."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [" ".join(shlex.split(part, comments=True)) for line in lines for part in line.split("&&") if part.strip()]


COMMANDS = sorted({(command, page) for page in PAGES for command in commands(page)})
CI = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
# Commands that need what this test cannot give, and the test that runs the like of them, with the words to find there.
ELSEWHERE = {
    "torchrun ": ("test_trainer_processes.py", "torch.distributed.run"),
    "dssl detect ": ("test_trainer_detect.py", '"detect"'),
    "dssl export ": ("test_trainer_export.py", '"export"'),
    "dssl evaluate runs/full ": ("test_trainer_protocols.py", '"linear"'),
    "TORCH_EXTENSIONS_DIR=/scratch/extensions ": ("test_build_cuda.py", "TORCH_EXTENSIONS_DIR=str(tmp_path)"),
    "python -m dssl_ops build --cuda ": ("test_build_cuda.py", '"build", "--cuda"'),
    "dssl reproduce fig1 ": ("test_reproduce.py", '"reproduce"'),
    "python -m benchmarks ": ("test_benchmarks.py", "command.main"),
    "pip install .[": ("../.ci/run", "pip install --quiet '.[test,dev,docs]'"),
}
BY_HAND = ("pytest benchmarks/",)  # wants all peers installed, and minutes


@pytest.mark.parametrize("command, page", COMMANDS, ids=[command[:60] for command, _ in COMMANDS])
def test_every_command_is_run_somewhere(command, page):
    if command.startswith("dssl "):
        assert parser().parse_known_args(shlex.split(command)[1:])[1] == []
    elsewhere = [place for start, place in ELSEWHERE.items() if command.startswith(start)]
    here = command.startswith(tuple(RUN_HERE))
    in_ci = re.search(rf"(^|[( ]){re.escape(command)}\)?( |$)", CI.replace("'", ""), re.M)
    assert here or in_ci or elsewhere or command in BY_HAND, f"{command!r} of {page} runs nowhere"
    for name, words in elsewhere:
        assert words in (ROOT / "tests" / name).read_text()


RUN_HERE = ("dssl train simsiam-cifar10", "dssl evaluate runs/dssl", "dssl plot", "dssl show", "dssl views",
            "dssl reproduce table2")  # fmt: skip


def test_commands_run_as_they_stand(elsewhere, capsys):
    """Training commands get options at their end that make them short; nothing else is changed."""
    write_cifar10(elsewhere / "path" / "to" / "cifar10")
    found = dict.fromkeys(command for page in PAGES for command in commands(page))  # README first, each once
    ran = [command for command in found if command.startswith(RUN_HERE)]
    for command in ran:
        words = shlex.split(command)[1:]
        assert main([*words, *options_for(TINY)] if words[0] == "train" else words) == 0, capsys.readouterr().err
    left = {str(path.relative_to(elsewhere)) for path in elsewhere.rglob("*") if path.is_file()}
    made = ("runs/dssl/report.html", "runs/dssl/evaluation-knn.json", "runs/dssl/evaluation-fast.json", "curves.png")
    assert len(ran) >= 8 and {*made} <= left


def write_cifar10(folder):
    """Drawn images in the layout of the CIFAR-10 python batches, ten in each."""
    folder.mkdir(parents=True)
    pixels, labels = draw(60, seed=0)
    for name, images, numbers in zip((*TRAIN, *TEST), pixels.split(10), labels.split(10), strict=True):
        content = {b"data": images.flatten(1).numpy(), b"labels": numbers.tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {b"label_names": [name.encode() for name in CLASSES]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


# ---- links


@pytest.mark.parametrize("path", [*PAGES.values(), ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_relative_links_lead_to_files(path):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    local = [target for target in targets if "://" not in target and "pictures/" not in target]  # those are drawn
    assert [target for target in local if not (path.parent / target).exists()] == []
