"""The rules of SECURITY.md, each held by what it forbids. test_faults_build.py has those of the cache."""

import ast
import io
import pickle
import re
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from dssl_trainer import checkpoint
from dssl_trainer.config import Config
from dssl_trainer.data import cifar, load
from dssl_trainer.errors import TrainerError
from PIL import Image
from trainer_setup import environment, tiny_command

from dssl_ops import ImageFiles
from dssl_ops.image_files import MAX_BYTES

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted([*ROOT.glob("dssl_ops/**/*.py"), *ROOT.glob("python/**/*.py")])
RULES = (ROOT / "SECURITY.md").read_text()


def calls(path):
    """(dotted name, keywords, place) of every call."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            yield ast.unparse(node.func), keywords, f"{path.relative_to(ROOT)}:{node.lineno}"


ALL_CALLS = [call for path in OURS for call in calls(path)]
# What runs its input, or a shell, or takes an archive's own paths.
FORBIDDEN = r"(pickle\.loads?|marshal\.\w+|shelve\.\w+|yaml\.\w+|eval|exec|os\.(system|popen|exec\w+|spawn\w+)|"
FORBIDDEN += r".*\.extractall|.*\.extract|shutil\.unpack_archive|np\.fromfile|tempfile\.mktemp|joblib\.\w+)"


def test_nothing_runs_its_input_or_a_shell_or_unpacks_an_archive():
    assert [(name, place) for name, _, place in ALL_CALLS if re.fullmatch(FORBIDDEN, name)] == []
    assert [place for _, keywords, place in ALL_CALLS if keywords.get("shell", "False") != "False"] == []


def test_tensors_are_loaded_as_weights_and_arrays_without_objects():
    loads = [(keywords, place) for name, keywords, place in ALL_CALLS if name in ("torch.load", "np.load")]
    assert loads and [place for words, place in loads if words.get("weights_only") != "True"] == []


def test_programs_are_started_from_lists():
    commands = [node for path in OURS for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    commands = [node for node in commands if ast.unparse(node.func).startswith("subprocess.")]
    assert commands and all(isinstance(node.args[0], (ast.List, ast.Name)) for node in commands)


def test_every_dependency_has_its_reason_and_every_variable_its_line():
    project = (ROOT / "pyproject.toml").read_text()
    needed = re.search(r"\ndependencies = \[\n(.*?)\n\]", project, re.S)[1].splitlines()
    assert all(re.fullmatch(r'    "[\w>=.]+", +# .+', line) for line in needed)
    for line in needed:
        assert f"`{re.match(r' *.([a-z]+)', line)[1]}`" in RULES, line
    text = "\n".join(path.read_text() for path in [*OURS, ROOT / "setup.py"])
    for name in set(re.findall(r'environ(?:\.get|\.setdefault|\.pop)?[\[(]"(\w+)"', text)):
        assert f"`{name}`" in RULES, name


# ---- files that mean harm


class Touches:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_checkpoint_that_would_run_code_is_refused(tmp_path):
    for save in (torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))):
        save({"model": Touches(tmp_path / "touched")}, tmp_path / "checkpoint.pt")
        with pytest.raises(TrainerError, match=r"cannot read .*checkpoint\.pt"):
            checkpoint.load(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "touched").exists()


class Call:
    def __init__(self, f, *arguments):
        self.state = f, arguments

    def __reduce__(self):
        return self.state


@pytest.mark.parametrize("data", [
    Call(np.ndarray, (1,), np.dtype(object), b"AAAAAAAA"),  # an object at any address
    Call(np.ndarray, (1 << 40, 3072), np.dtype(np.uint8)),  # 3 PB
    Call(np.dtype, "O"),
    Call(np.frombuffer, b"abc", np.uint8),
    np.array([Touches("never")], object),
])  # fmt: skip
def test_batches_never_reach_numpy_s_own_constructors(data, tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": data, b"labels": [0]}, protocol=2))
    with pytest.raises(TrainerError, match="data_batch_1 is not a CIFAR-10 python batch"):
        cifar.read_batch(tmp_path / "data_batch_1", 10)


@pytest.mark.parametrize("name", ["ndarray", "dtype"])
def test_names_of_numpy_in_a_batch_stand_for_ours(name, tmp_path):
    (tmp_path / "batch").write_bytes(f"cnumpy\n{name}\n.".encode())
    assert cifar.unpickle(tmp_path / "batch").__module__ == cifar.__name__


def png_header(width, height):
    """A PNG whose header says so, and no pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def jpeg_header(width, height):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(touched) (w) file closefile\nshowpage\n"
BOMBS = {"png": png_header(60000, 60000), "jpeg": jpeg_header(60000, 60000), "wide": png_header(40000, 10), "eps": EPS}
BOMBS["between"] = png_header(12000, 6000)  # more than we take, less than Pillow's own limit
WORDS = {"eps": "not an image", "between": "12000x6000 pixels", "wide": "40000x10 pixels"}


def peak_of(f):
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_image_bombs_are_refused_by_their_headers(name, tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "x.png").write_bytes(BOMBS[name])
    files = ImageFiles(tmp_path)
    assert peak_of(lambda: files[0]) < 1 << 22 and len(files.skipped) == 1

    def read():
        with pytest.raises(TrainerError, match=rf"cannot decode .*x\.png: .*{WORDS.get(name, '')}"):
            load(Config(data=str(tmp_path)))

    assert peak_of(read) < 1 << 22


def zip_with(path, data, method=zipfile.ZIP_DEFLATED, lie=None):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in ("train/a/x.png", "test/a/x.png"):
            archive.writestr(name, data)
    if lie is not None:  # the size in both headers of each member
        content = path.read_bytes().replace(len(data).to_bytes(4, "little"), lie.to_bytes(4, "little"))
        path.write_bytes(content)
    return path


@pytest.mark.parametrize("what", ["too large", "lying", "bzip2"])
def test_zip_bombs_are_not_expanded(what, tmp_path):
    if what == "too large":
        path = zip_with(tmp_path / "x.zip", b"\0" * 1000, lie=MAX_BYTES + 1)
    elif what == "lying":
        path = zip_with(tmp_path / "x.zip", b"\0" * (1 << 25), lie=100)
    else:
        path = zip_with(tmp_path / "x.zip", b"\0" * (1 << 25), zipfile.ZIP_BZIP2)
    files = ImageFiles(path)
    assert peak_of(lambda: files[0]) < 1 << 22 and len(files.skipped) == 1

    def read():
        with pytest.raises(TrainerError, match=r"cannot decode .*x\.png"):
            load(Config(data=str(path)))

    assert peak_of(read) < 1 << 22


def test_names_in_zips_lead_nowhere(tmp_path):
    """Members are decoded in memory under their names; nothing is written."""
    inside = tmp_path / "inside"
    inside.mkdir()
    with zipfile.ZipFile(inside / "x.zip", "w") as archive:
        archive.writestr("../../escaped/x.png", png_header(1, 1))
    before = sorted(tmp_path.rglob("*"))
    ImageFiles(inside / "x.zip")[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_download_takes_only_the_batches_out_of_the_archive(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10, utils

    def fetch(url, folder, filename, md5):
        assert url == CIFAR10.url and md5 == CIFAR10.tgz_md5
        with tarfile.open(Path(folder, filename), "w:gz") as archive:
            for name in (*cifar.TRAIN, *cifar.TEST, "batches.meta", "../../escaped", "extra"):
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = 4
                archive.addfile(info, io.BytesIO(b"data"))

    monkeypatch.setattr(utils, "download_url", fetch)
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    cifar.download(place)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    names = (*cifar.TRAIN, *cifar.TEST, "batches.meta")
    assert found == {f"a/b/{CIFAR10.filename}", *(f"a/b/cifar-10-batches-py/{name}" for name in names)}


# ---- where files are written

WATCH = """
import os, sys
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        print("WROTE", os.path.abspath(arguments[0]))
    elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link"):
        print("WROTE", os.path.abspath(arguments[1 if event != "os.mkdir" else 0]))
sys.addaudithook(note)
from dssl_trainer.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_writes_into_its_folder_and_the_cache_alone(tmp_path):
    command = [sys.executable, "-c", WATCH, *tiny_command(tmp_path / "run", "--max-steps", "1")[3:]]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = {Path(line[6:]) for line in done.stdout.splitlines() if line.startswith("WROTE ")}
    written = {path for path in written if "__pycache__" not in path.parts and path != Path("/dev/null")}
    assert any(path.name == "log.csv" for path in written)
    allowed = (str(tmp_path / "run"), "matplotlib", "torchinductor", "dssl_ops")  # matplotlib keeps a list of fonts
    assert [str(path) for path in written if not any(part in str(path) for part in allowed)] == []
