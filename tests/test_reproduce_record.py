"""The runs on record in reproduction/, and that README and docs show them as they are."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from dssl_trainer import cli
from dssl_trainer.reproduce import blocks, collection, figures, plan
from dssl_trainer.reproduce.cells import jobs, kept_runs
from PIL import Image
from reproduce_setup import job_of, write_run

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "reproduction" / "small"


# ---- what is committed


@pytest.mark.parametrize("name", collection.DOCUMENTS)
def test_documents_show_the_record(name):
    assert collection.renew(name, ROOT) == (ROOT / name).read_text(encoding="utf-8"), "run `dssl reproduce collect`"
    assert "<!-- runs: " in (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", blocks.FIGURES)
def test_figures_show_the_record(name):
    checksum, drawing = blocks.drawing_of(name, ROOT)
    path = ROOT / "docs" / "plots" / f"{name}.png"
    assert path.exists() == (drawing is not None), "run `dssl reproduce collect`"
    if drawing is not None:
        with Image.open(path) as picture:
            assert picture.text["Source"] == checksum, "run `dssl reproduce collect`"
        assert path.stat().st_size < 100_000


def test_record_is_small_and_names_no_machine():
    files = [path for path in RECORD.rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {"config.json", "log.csv", "evaluation-knn.json", "evaluation-fast.json"}
    assert sum(path.stat().st_size for path in files) < collection.LIMIT
    assert [path for path in files if re.search(r"""(^|[\s"'])~?/\w""", path.read_text())] == []


def test_every_run_on_record_is_finished_and_named_by_its_settings():
    kept = list(kept_runs(RECORD).values())
    folders = [path for path in RECORD.glob("*") if path.is_dir()]
    assert sorted(run.folder for run in kept) == sorted(folders), "two folders hold the same run, or one holds none"
    assert [run.folder.name for run in kept if not run.finished or collection.name_of(run) != run.folder.name] == []


# ---- how it comes there


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with empty documents, and a folder with three finished runs and one that is not."""
    (tmp_path / "tree" / "docs").mkdir(parents=True)
    (tmp_path / "tree" / "README.md").write_text("# Title\n\n<!-- runs: headline -->\nold\n<!-- end -->\n\nlast line\n")
    page = "<!-- runs: table2 *-cifar10-* -->\n<!-- end -->\n<!-- runs: fig4 -->\n<!-- end -->\n"
    (tmp_path / "tree" / "docs" / "reproduction.md").write_text(
        page + "<!-- runs: runs -->\n<!-- end -->\n<!-- runs: beside -->\n<!-- end -->\n"
    )
    numbers = {"baseline": [32, 55], "heavy": [32, 31], "dssl": [32, 52]}
    for variant, (first, last) in numbers.items():
        job = job_of("table2", f"simsiam-cifar10-{variant}")
        write_run(tmp_path / "out", job, [first, 40, 41, 42, 43, last], folder=f"mine-{variant}")
    write_run(tmp_path / "out", job_of("table2", "simsiam-cifar10-dssl", 1), [32, 40], evaluated=False)
    monkeypatch.chdir(tmp_path / "tree")
    return tmp_path / "tree"


def collect(tree):
    assert cli.main(["reproduce", "collect", "--out", str(tree.parent / "out")]) == 0
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_collecting_fills_documents_and_figure(tree, capsys):
    files = collect(tree)
    page = (tree / "README.md").read_text(encoding="utf-8")
    assert page.startswith("# Title\n\n<!-- runs: headline -->\n| SimSiam") and page.endswith(
        "<!-- end -->\n\nlast line\n"
    )
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[2:] == ["| baseline | 55.0 | 50.0 | 70.5 | no | 0 | 92.1 |",
                        "| w/ T-hat | 31.0 | 50.0 | 70.5 | no | 0 | collapse |",
                        "| DSSL | 52.0 | 50.0 | 70.5 | no | 0 | 94.5 |"]  # fmt: skip
    assert "Reduced scale: resnet10_half, 10 epochs" in page and "(docs/plots/reproduction.png)" in page
    docs = (tree / "docs" / "reproduction.md").read_text(encoding="utf-8")
    assert "| simsiam-cifar10 | RA(2,5)+Jigsaw(4) | DSSL - w/ T-hat | 21.0 | 0.0 | 0 |" in docs
    assert "| simsiam-cifar10 | RA(2,5)+Jigsaw(4) | collapse / 21.0 | collapse / 24.0 | 2.4 / -3.0 |" in docs
    assert "No run on record yet." in docs and "| simsiam-cifar10-heavy-seed0 | small | 10 |" in docs
    assert "3 new of 3 finished runs" in capsys.readouterr().out
    assert collect(tree).keys() == files.keys()
    again = collect(tree)
    assert {path.name for path in files if again[path] != files[path]} == set(), "collecting twice changes nothing"


def test_only_real_runs_of_the_scale_are_collected(tree):
    write_run(tree.parent / "out", job_of("table2", "byol-cifar10-dssl"), [32, 40, 41, 42, 43, 44], data="drawn")
    full = jobs("table2", "full", globs=["byol-cifar10-heavy"])[0]
    target = write_run(tree.parent / "out", full, [32] * 401)
    evaluation = (target / "evaluation-knn.json").read_text()
    (target / "evaluation-linear.json").write_text(evaluation.replace('"knn"', '"linear"'))
    assert sum(run.finished for run in kept_runs(tree.parent / "out").values()) == 5
    collect(tree)
    assert sorted(os.listdir(tree / "reproduction" / "small")) == [
        f"simsiam-cifar10-{variant}-seed0" for variant in ("baseline", "dssl", "heavy")
    ]


def test_a_run_on_record_is_not_replaced_by_another_training_of_it(tree, capsys):
    files = collect(tree)
    job = job_of("table2", "simsiam-cifar10-dssl")
    write_run(tree.parent / "more", job, [32, 40, 41, 42, 43, 60])
    write_run(tree.parent / "more", job_of("table2", "byol-cifar10-dssl"), [32, 40, 41, 42, 43, 44])
    assert cli.main(["reproduce", "collect", "--out", str(tree.parent / "more")]) == 2
    assert "is another training of the run in" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == files


def test_folders_of_the_machine_are_left_out(tmp_path):
    folder, data = tmp_path / "r" / "runs" / "one", tmp_path / "images"
    run = SimpleNamespace(config=SimpleNamespace(data=str(data), out=str(folder)), folder=folder)
    words = f'"out": "{folder}", "data": "{data}/train.zip", "at": "{data}", "other": "my{data}"'
    assert (
        collection.anonymous(words, run) == f'"out": "one", "data": "data/train.zip", "at": "data", "other": "my{data}"'
    )


def test_captions_count_what_is_drawn(tmp_path):
    """Seed 1 is finished for the baseline; of DSSL's it is begun, and left out of its line."""
    for seed in (0, 1):
        write_run(tmp_path, job_of("table2", "simsiam-cifar10-baseline", seed), [32, 40, 41, 42, 43, 55])
        curve, done = ([32, 40, 41, 42, 43, 52], True) if seed == 0 else ([32, 40], False)
        write_run(tmp_path, job_of("table2", "simsiam-cifar10-dssl", seed), curve, evaluated=done)
    steps, _ = plan.plan(jobs("table2", "small", (0, 1), ["simsiam-cifar10-*"]), tmp_path, measure=False)
    said = figures.caption("About", steps)
    assert said.endswith("seed 0, 1 (some cells: fewer)\nmean over seeds, bands from lowest to highest")
    axis = figures.figure("table2", steps, said).axes[0]
    assert len(axis.collections) == 1, "one band, the baseline's"


@pytest.mark.parametrize(
    "heavy, alarm, holds",
    [(40, None, ["yes", "yes", "-"]), (43, None, ["no", "yes", "-"]),
     (49, 4, ["no", "yes", "-"]), (49, None, ["no", "no", "-"])],
)  # fmt: skip
def test_rule_is_applied_as_it_stands(heavy, alarm, holds, tmp_path):
    for variant, last in (("baseline", 55), ("heavy", heavy), ("dssl", 52)):
        job = job_of("table2", f"simsiam-cifar10-{variant}")
        if variant == "heavy":
            assert blocks.rule(tmp_path, "").startswith("Not all of the runs")
        write_run(tmp_path / "reproduction" / "small", job, [32, 40, 41, 42, 43, last],
                  alarm=alarm if variant == "heavy" else None)  # fmt: skip
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in blocks.rule(tmp_path, "").splitlines()]
    assert [row[-1] for row in table[2:]] == holds
    assert [row[1:3] for row in table[2:]] == [
        [f"{52 - heavy:.1f}", "0.0"],
        [f"{55 - heavy:.1f}", "0.0"],
        ["-3.0", "0.0"],
    ]
    assert table[3][3] == f"alarm in {int(alarm is not None)} of 1 runs, effective rank 70.5"


def test_record_has_small_files_alone_and_no_paths(tree):
    collect(tree)
    folder = tree / "reproduction" / "small" / "simsiam-cifar10-dssl-seed0"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "evaluation-fast.json", "evaluation-knn.json", "log.csv"]
    settings = json.loads((folder / "config.json").read_text())["settings"]
    assert (settings["data"], settings["out"]) == ("data", "mine-dssl")
    assert not any(str(tree.parent) in path.read_text() or "/data/" in path.read_text() for path in folder.iterdir())
    assert len(os.listdir(folder.parent)) == 3


@pytest.mark.parametrize("place", ["README.md", "docs/reproduction.md"])
def test_a_changed_table_or_run_is_seen(place, tree):
    collect(tree)
    assert collection.renew(place, tree) == (tree / place).read_text(encoding="utf-8")
    log = tree / "reproduction" / "small" / "simsiam-cifar10-dssl-seed0" / "evaluation-knn.json"
    log.write_text(log.read_text().replace('"top1": 52', '"top1": 58'))
    assert collection.renew(place, tree) != (tree / place).read_text(encoding="utf-8")
