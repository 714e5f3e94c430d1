"""The report of `dssl reproduce`: tables beside the paper, differences seed by seed, figures."""

import io
import json
import re

import pytest
from dssl_trainer import cli
from dssl_trainer.device import chosen
from dssl_trainer.reproduce import figures, pages, plan, results
from dssl_trainer.reproduce.cells import jobs
from PIL import Image
from reproduce_setup import DATA, job_of, write_run


@pytest.fixture
def runs(tmp_path):
    """Two seeds of SimSiam's row of Table 2, T-hat with an alarm; the second baseline is not finished."""
    curves = {"baseline": [32, 40, 50, 52, 54, 55], "heavy": [32, 30, 31, 33, 30, 31], "dssl": [32, 38, 44, 49, 53, 52]}
    for seed in (0, 1):
        for variant, curve in curves.items():
            job = job_of("table2", f"simsiam-cifar10-{variant}", seed)
            knn = [k + 2 * seed for k in curve]
            if (variant, seed) == ("baseline", 1):
                write_run(tmp_path, job, knn[:3], evaluated=False)
            else:
                write_run(tmp_path, job, knn, fast=knn[-1] + 5 + seed, alarm=4 if variant == "heavy" else None)
    return tmp_path


def report_of(runs, capsys, *more):
    words = ["table2", "--report", "--out", str(runs), "--seeds", "0", "1", "--cells", "*cifar10*", *more]
    assert cli.main(["reproduce", *words]) == 0
    return (runs / "table2.md").read_text(), capsys.readouterr().out


def cells_of(page, start):
    return [
        cell.strip() for cell in next(x for x in page.splitlines() if x.startswith(f"| {start} |")).split("|")[1:-1]
    ]


def test_report_stands_beside_the_paper(runs, capsys):
    page, said = report_of(runs, capsys)
    assert page in said
    expected = ["94.5", "53.0 ± 1.4", "54.0 ± 1.4", "58.5 ± 2.1", "70.5 ± 0.0", "no", "0, 1"]
    assert cells_of(page, "simsiam-cifar10 w/ DSSL")[1:] == expected
    assert cells_of(page, "simsiam-cifar10 w/ T-hat")[1:3] == ["collapse", "32.0 ± 1.4"]
    assert cells_of(page, "simsiam-cifar10 w/ T-hat")[-2] == "2 of 2, epoch 4, 4"
    assert cells_of(page, "simsiam-cifar10 repro.")[2:] == ["55.0", "55.0", "60.0", "70.5", "no", "0"]
    assert cells_of(page, "byol-cifar10 w/ DSSL")[1:3] == ["94.7", "not run"]
    run = cells_of(page, "simsiam-cifar10-heavy-seed1")
    assert run[1:8] == ["small", "10", "1", "author16", "RA(2,5)+Jigsaw(4)", "all views heavy", "-"]
    machine = f"bf16, {chosen('auto')}, 2.11"
    assert run[8:] == ["33.00", "35.0 (6)", "39.00", "70.5", "0.80", "epoch 4", "34.0", machine, "0123456789"]
    assert cells_of(page, "simsiam-cifar10-baseline-seed1")[8] == "not finished: epoch 4 of 10"
    assert "Trained on" not in page and f"Data: {DATA}." in page


def test_report_tells_images_apart_by_their_checksums(runs, capsys):
    for variant, checksum in (("dssl", "1a2b3c4d"), ("heavy", "5e6f7a8b")):
        path = runs / f"simsiam-cifar10-{variant}-seed0" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"images": checksum}))
        page, _ = report_of(runs, capsys)
        assert ("checksum" in page) == (variant == "heavy"), "one checksum alone tells nothing"
    for checksum in ("unknown", "1a2b3c4d", "5e6f7a8b"):
        assert f"{DATA}, checksum {checksum}" in page


def test_report_says_which_cells_another_kind_of_device_trained(tmp_path, capsys):
    devices = {"baseline": "cuda", "heavy": "cuda:1", "dssl": "cpu"}
    for variant, device in devices.items():
        job = job_of("table2", f"simsiam-cifar10-{variant}")
        write_run(tmp_path, job, [32, 40, 41, 42, 43, 44], device=device)
    page, _ = report_of(tmp_path, capsys)
    told = "Trained on cuda: simsiam-cifar10 repro., simsiam-cifar10 w/ T-hat; on cpu: simsiam-cifar10 w/ DSSL."
    assert page.count(told) == 2, "below the cells and below their differences"
    steps, _ = plan.plan(jobs("table2", "small", globs=["simsiam-cifar10*"]), tmp_path, measure=False)
    assert "trained on cuda and cpu" in figures.caption("", steps)


def test_report_subtracts_seed_by_seed(runs, capsys):
    page, _ = report_of(runs, capsys)
    rows = [line.split(" | ")[2:] for line in page.splitlines() if line.startswith("| simsiam-cifar10 | RA")]
    assert rows[0] == ["DSSL - w/ T-hat", "21.0 ± 0.0", "21.0 ± 0.0", "0, 1 |"]
    assert rows[1:] == [["baseline - w/ T-hat", "24.0", "24.0", "0 |"], ["DSSL - baseline", "-3.0", "-3.0", "0 |"]]


def test_html_is_complete_in_itself_and_the_png_is_one(runs, capsys):
    report_of(runs, capsys)
    page = (runs / "table2.html").read_text()
    assert "<svg" in page and "not run" in page and "Collapse alarms" in page and "reduced" in page
    assert not re.search(r"<(script|link|img|iframe)|(src|href)=\"(?!#)|url\((?!#)", page)
    with Image.open(io.BytesIO((runs / "table2.png").read_bytes())) as picture:
        assert picture.size[0] > 600


def test_fig5_draws_accuracy_over_delta(tmp_path):
    for number, job in enumerate(jobs("fig5", "small")[:3]):
        write_run(tmp_path, job, [30, 40, 41, 42, 43, 44 + number], fast=60 + number)
    steps, _ = plan.plan(jobs("fig5", "small"), tmp_path, measure=False)
    drawing = pages.figure("fig5", steps, "caption")
    (deltas, knn), (_, fast) = (line[0].get_data() for line in drawing.axes[1].containers)
    assert list(deltas) == [0.0, 0.1, 0.3] and list(knn) == [44, 45, 46] and list(fast) == [60, 61, 62]
    curves = {line.get_label(): list(line.get_ydata()) for line in drawing.axes[0].lines}
    assert curves["delta 0.1"] == [30, 40, 41, 42, 43, 45]


@pytest.mark.parametrize(
    "ours, since", [([1, 5, 5, 5], 2), ([1, 5, 1, 5], 6), ([1, 5, 5, 1], None), ([9, 9, 9, 9], 0), ([3, 3, 3, 3], None)]
)
def test_overtaking_is_to_stay_above_until_the_end(ours, since):
    epochs = (0, 2, 4, 6)
    assert results.overtakes(list(zip(epochs, ours)), [(epoch, 3) for epoch in epochs]) == since


def test_harder_byol_is_not_paired_with_a_baseline_of_other_standard_views(tmp_path):
    found = jobs("table3", "small", globs=["byol-imagenet*"])
    for job in found:
        write_run(tmp_path, job, [30] * 6)
    compared = results.differences(plan.plan(found, tmp_path, measure=False)[0])
    assert {heavy for _, heavy, *_ in compared.rows} == {"RA(8,16)"}
    harder = jobs("table2", "small", globs=["byol-imagenet*"], changes={"heavy": "byol_harder"})
    for job in harder:
        write_run(tmp_path, job, [30] * 6, folder=f"own-{job.name}")
    compared = results.differences(plan.plan(harder, tmp_path, measure=False)[0])
    assert [heavy for _, heavy, *_ in compared.rows] == ["byol_harder"] * 3


def test_long_pair_tells_when_it_overtakes(tmp_path):
    for name, last in (("baseline", 50), ("dssl-ra-2-5", 52)):
        job = job_of("long", f"simsiam-cifar10-{name}-epochs-100")
        write_run(tmp_path, job, [*range(1, 50), last - 3, last])
    steps, _ = plan.plan(jobs("long", "small"), tmp_path, measure=False)
    [table] = [table for table in results.tables("long", steps) if table.title == "Overtaking"]
    assert table.rows == [("simsiam-cifar10", "RA(2,5)", "0", "from epoch 98 on")]
