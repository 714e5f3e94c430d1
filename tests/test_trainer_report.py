"""`dssl plot`: curves of runs, and the report that needs nothing beside it."""

import base64
import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from dssl_trainer import cli
from dssl_trainer.config import Config
from dssl_trainer.presets import PRESETS
from dssl_trainer.record import subtitle
from dssl_trainer.reports.curves import PANELS, curves
from dssl_trainer.reports.html_report import paper, write_report
from dssl_trainer.train import train
from PIL import Image
from trainer_setup import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(tiny(folder, seed=4))
    result = {"protocol": "linear", "top1": 61.25, "about": "SGD lr 30", "about_top1": "last epoch, all test images",
              "authors_best_on_test": {"top1": 63.5, "epoch": 7, "about": "best epoch chosen on the test set"},
              "checkpoint": "checkpoint.pt", "epochs": 2.0, "seed": 4, "commit": None}  # fmt: skip
    (folder / "evaluation-linear.json").write_text(json.dumps(result))
    return folder


class Page(HTMLParser):
    """Everything that a browser would fetch, the words, and the tags left open."""

    def __init__(self, page):
        super().__init__()
        self.fetched, self.words, self.tags = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
        self.fetched += [value for name, value in attributes if name in names]
        self.fetched += [found for _, value in attributes for found in re.findall(r"url\((.*?)\)", value or "")]

    def handle_data(self, data):
        self.words.append(data)
        if self.tags[-1:] == ["style"]:
            self.fetched += re.findall(r"@import.*|url\((.*?)\)", data)


def test_report_is_complete_in_itself(run):
    page = Page(write_report(run).read_text(encoding="utf-8"))
    outside = [place for place in page.fetched if not place.startswith(("data:", "#"))]
    assert outside == [] and not {"script", "link", "iframe", "object"} & set(page.tags)
    pictures = [place for place in page.fetched if place.startswith("data:image/png;base64,")]
    with Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2]))) as shown, \
            Image.open(run / "gallery.png") as kept:  # fmt: skip
        assert len(pictures) == 1 and shown.tobytes() == kept.tobytes()
    assert page.tags.count("svg") == 1 and page.tags.count("path") > 20


def test_report_says_its_circumstances_and_every_result(run):
    words = " ".join(" ".join(Page(write_report(run).read_text(encoding="utf-8")).words).split())
    for said in ("scale small", "seed 4", "2 epochs", "RA(2,5)+Jigsaw(4) of author16", "cannot be compared",
                 "61.25", "last epoch, all test images", "63.50", "best epoch chosen on the test set",
                 "94.50 linear evaluation at full scale, table2: simsiam-cifar10 w/ DSSL"):  # fmt: skip
        assert said in words, said
    for spec in dataclasses.fields(Config):
        assert spec.name in words


@pytest.mark.parametrize("changes, told", [
    ({"variant": "baseline"}, "none"),
    ({"variant": "baseline", "heavy": "byol_harder"}, "byol_harder of author16"),  # it alters the standard views
    ({"variant": "heavy"}, "RA(2,5)+Jigsaw(4) of author16"),
])  # fmt: skip
def test_baseline_claims_no_heavy_policy(changes, told, tmp_path):
    assert f"heavy: {told}; images" in subtitle(tiny(tmp_path, **changes), "images")


def test_paper_numbers_are_those_of_the_same_cell():
    full = PRESETS["simsiam-cifar10"]["full"]
    assert [number for _, number in paper(dataclasses.replace(full, variant="heavy"))] == ["collapse"]
    assert [number for _, number in paper(dataclasses.replace(full, heavy="RA(2,5)"))] == [94.17, 94.2]
    assert [number for _, number in paper(dataclasses.replace(full, variant="baseline"))] == [92.1, 92.17]
    assert paper(dataclasses.replace(full, heavy="RA(3,3)")) == []
    assert paper(dataclasses.replace(full, delta=0.1)) == []
    assert paper(dataclasses.replace(full, scale="toy")) == []


def test_curves_show_every_column_of_every_run():
    rows = [{"epoch": e, "step": e, "loss": -e / 9, "knn": 20.0 + e, "rankme": 9.0, "std": 0.5, "sv_sv": 0.8,
             "sv_hv": 0.5} for e in range(4)]  # fmt: skip
    other = [{"epoch": e, "loss": 3.0, "hv_hv": 0.1, "knn": 30.0, "alarm": int(e == 2)} for e in range(5)]
    figure = curves({"dssl": rows, "a_b$c": other}, "two $ runs\nsecond line")
    *axes, corner = figure.axes
    assert len(axes) == len(PANELS)
    drawn = [[tuple(line.get_ydata()) for line in axis.get_lines()] for axis in axes]
    assert drawn[0] == [tuple(-e / 9 for e in range(4)), (3.0,) * 5]
    assert drawn[4] == [(0.8,) * 4, (0.5,) * 4, (0.1,) * 5]
    assert (20.0, 20.0) in drawn[1] and (30.0,) in drawn[1]  # the untrained encoder; the alarm
    labels = [entry.get_text() for entry in corner.get_legend().get_texts()]
    assert labels == ["DSSL", r"a_b\$c", "random initialisation", "collapse alarm"]


def test_command_draws_all_runs_and_writes_their_reports(run, tmp_path, capsys):
    second = tmp_path / "second"
    shutil.copytree(run, second)
    out = tmp_path / "deep" / "plot.svg"
    assert cli.main(["plot", str(run), str(second), "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out), str(run / "report.html"), str(second / "report.html")]
    assert out.read_text().count("<svg") == 1 and not list(tmp_path.rglob("*.tmp"))


def test_what_cannot_be_drawn_is_one_line(run, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    (damaged / "config.json").write_text('{"settings": 3')
    cases = {
        (tmp_path / "nowhere",): "is not the folder of a run: No such file",
        (damaged,): "its config.json or log.csv is damaged",
        (run, "--out", tmp_path / "x.docx"): "expected a file that ends in",
    }
    for arguments, message in cases.items():
        assert cli.main(["plot", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
