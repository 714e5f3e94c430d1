"""`dssl demo`, much reduced by its public option, and what it says on its face."""

import subprocess
import sys

import pytest
from dssl_trainer.demo import table
from dssl_trainer.reports.gallery import captions
from PIL import Image
from trainer_setup import environment


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "dssl_trainer", "demo", "--max-steps", "2", "--out", str(folder / "out")]
    surroundings = {name: text for name, text in environment().items() if name != "DSSL_DATA"}
    done = subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "out", done.stdout, done.stderr


def test_says_which_data_and_that_it_proves_nothing(demo):
    folder, said, _ = demo
    for text in (said.split("Gallery")[0], said.split("Gallery")[1], (folder / "table.txt").read_text()):
        assert "synthetic images drawn by this package: 1,280 train and 1,000 test images" in text
        assert "2 steps, one seed" in text and "proves nothing about the methods" in text


def test_table_has_a_row_per_variant_and_the_untrained_encoder(demo):
    lines = (demo[0] / "table.txt").read_text().splitlines()
    assert [line[:24].strip() for line in lines[2:6]] == ["baseline", "w/ T-hat", "DSSL", "random initialisation"]
    for line in lines[2:6]:
        assert 0 < float(line[24:].split()[0]) <= 100


def test_leaves_gallery_plot_and_a_folder_per_variant(demo):
    folder, said, shown = demo
    for picture in ("gallery.png", "plot.png"):
        with Image.open(folder / picture) as image:
            assert min(image.size) > 300 and len(image.convert("RGB").getcolors(1 << 24)) > 20  # not blank
        assert str(folder / picture) in said
    for variant in ("baseline", "heavy", "dssl"):
        left = {path.name for path in (folder / variant).iterdir()}
        assert left == {"config.json", "log.csv", "checkpoint.pt", "plot.png", "gallery.png", ".lock"}
        assert f"{variant:8}: 100%" in shown  # its progress bar


def test_help_says_offline():
    command = [sys.executable, "-m", "dssl_trainer", "demo", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode == 0 and "offline" in done.stdout and "--max-steps" in done.stdout


def test_table_marks_the_collapse_alarm():
    row = {"knn": 10.0, "rankme": 1.0, "std": 0.1, "loss": -1.0, "views_per_second": 100.0, "random_knn": 20.0}
    lines = table({"heavy": row, "dssl": row}, alarmed={"dssl"}).splitlines()
    assert [line.endswith("  collapse alarm") for line in lines] == [False, False, False, True, False]


def test_captions_tell_the_steps_of_each_view():
    crop = ("ResizedCrop", (0.0, 0.0, 9.0, 9.0, 32.0, 32.0, 2.0, 13.0))
    steps = [crop, ("Emit", (0.0,)), ("Rotate", (5.0, 0.0)), ("Emit", (2.0,)), ("Source", ()), ("Emit", (1.0,))]
    assert captions(steps) == {0: "ResizedCrop 9x9 at 0, 0 to 32x32", 2: "Rotate 5.0° left", 1: ""}
