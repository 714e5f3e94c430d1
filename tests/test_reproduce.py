"""`dssl reproduce`: which runs an experiment has, what it finds on disk, its plan and its report."""

import dataclasses
import io
import json
import re

import pytest
from dssl_trainer import cli
from dssl_trainer.config import override
from dssl_trainer.device import chosen
from dssl_trainer.errors import TrainerError
from dssl_trainer.experiments import EXPERIMENTS
from dssl_trainer.presets import PRESETS
from dssl_trainer.reproduce import figures, pages, plan, results
from dssl_trainer.reproduce.cells import jobs, kept_runs, key
from PIL import Image
from reproduce_setup import DATA, job_of, write_run
from trainer_setup import held_by_another

SIMSIAM = [f"simsiam-cifar10-{variant}" for variant in ("baseline", "heavy", "dssl")]


def names(experiment, *globs, seeds=(0,)):
    return [job.name for job in jobs(experiment, "small", seeds, globs)]


def reproduce(*arguments):
    return cli.main(["reproduce", *map(str, arguments)])


# ---- which runs


def test_names_say_what_differs_from_the_recipe():
    assert names("table2", "simsiam-cifar10*", seeds=(0, 3)) == [f"{n}-seed{s}" for s in (0, 3) for n in SIMSIAM]
    assert names("fig5")[:3] == ["simsiam-cifar10-dssl-ra-2-5-seed0",
                                 "simsiam-cifar10-dssl-ra-2-5-gamma-0.9-delta-0.1-seed0",
                                 "simsiam-cifar10-dssl-ra-2-5-gamma-0.7-delta-0.3-seed0"]  # fmt: skip
    assert names("table4", "simsiam*")[0] == "simsiam-imagenet-heavy-ra-2-5-ua-jigsaw-4-seed0"
    assert names("long")[0] == "simsiam-cifar10-baseline-epochs-100-seed0"


def test_cells_that_several_experiments_share_are_one_run():
    """Fig. 1's RA(2,5) is Fig. 4's c and j, Fig. 5's delta 0 and a row of `soft`; its baseline is that of Table 2."""
    found = {(name, job.cell.label): key(job.config) for name in EXPERIMENTS for job in jobs(name, "small")}
    alike = [
        ("fig1", "simsiam-cifar10 w/ DSSL, RA(2,5)"),
        ("fig4", "j"),
        ("fig5", "delta 0"),
        ("soft", "DSSL, RA(2,5)"),
    ]
    assert len({found[one] for one in alike}) == 1
    assert found["fig1", "simsiam-cifar10 w/ T-hat, RA(2,5)"] == found["fig4", "c"]
    assert found["fig1", "simsiam-cifar10 repro."] == found["table2", "simsiam-cifar10 repro."]
    assert found["fig1", "simsiam-cifar10 w/ DSSL, RA(2,5)"] != found["table2", "simsiam-cifar10 w/ DSSL"]
    every = {job.name: key(job.config) for name in EXPERIMENTS for job in jobs(name, "small")}
    assert len(set(every.values())) == len(every) == len(set(found.values()))


def test_a_run_is_known_by_its_settings_and_not_by_its_name(tmp_path):
    job = job_of("table2", "simsiam-cifar10-dssl")
    write_run(tmp_path, job, [30, 40, 41, 42, 43, 44], folder="anything", workers=3, threads=1, device="cpu")
    write_run(tmp_path, job, [30, 31], folder="less-far", evaluated=False)
    other = dataclasses.replace(job.config, lr=0.05)
    write_run(tmp_path, job._replace(config=other), [30, 31, 32, 33, 34, 35], folder=job.name)
    [one] = plan.plan([job], tmp_path)[0]
    assert one.state == "finished" and one.kept.folder.name == "anything"


@pytest.mark.parametrize(
    "changes", [{"heavy": "UA", "gamma": 0.5}, {"heavy_views": "sh"}, {"knn_every": 5}, {"precision": "fp32"}]
)
def test_what_a_variant_does_not_use_makes_no_difference(changes):
    config = job_of("table2", SIMSIAM[0]).config
    assert key(config) == key(dataclasses.replace(config, **changes))


@pytest.mark.parametrize("changes", [{"heavy": "UA"}, {"gamma": 0.5}, {"seed": 1}, {"epochs": 11}, {"op_set": "ra14"},
                                     {"knn_limit": 500}])  # fmt: skip
def test_what_decides_the_steps_makes_another_run(changes):
    config = job_of("table2", SIMSIAM[2]).config
    assert key(config) != key(dataclasses.replace(config, **changes))


def test_a_change_need_fit_the_wanted_cells_alone():
    """MoCo v2 shuffles its batches on the host: it cannot be captured."""
    found = jobs("table2", "small", globs=["simsiam-cifar10-*"], changes={"cuda_graph": "true"})
    assert [job.config.cuda_graph for job in found] == [True] * 3
    assert len(jobs("table2", "small", (0, 1), ["simsiam-cifar10-*-seed1"], {"cuda_graph": "true"})) == 3
    for globs in ([], ["mocov2-*"], ["mocov2-imagenet repro."], ["simsiam-*", "*-lr-0.1*"]):
        with pytest.raises(TrainerError, match="cuda_graph goes with neither method mocov2"):
            jobs("table2", "small", globs=globs, changes={"cuda_graph": "true", "lr": "0.1"})
    with pytest.raises(TrainerError, match="no cell of table2 is called 'simsam"):
        jobs("table2", "small", globs=["simsam*"], changes={"cuda_graph": "true"})
    with pytest.raises(TrainerError, match="lr"):
        jobs("table2", "small", globs=["simsam*"], changes={"lr": "abc"})


def test_byol_harder_makes_another_baseline():
    """It is no heavy policy alone: it alters the standard views."""
    plain, harder = (jobs("table1", "small", globs=["BYOL"], changes=c)[0] for c in ({}, {"heavy": "byol_harder"}))
    assert plain.key != harder.key and harder.name == "byol-imagenet-baseline-byol-harder-seed0"


def test_names_differ_where_settings_do():
    view, image = (jobs("table2", "small", globs=["simsiam-cifar10-heavy*"], changes={"heavy_views": "all"} | more)[0]
                   for more in ({}, {"heavy_from": "image"}))  # fmt: skip
    assert view.key != image.key and view.name != image.name


def test_trials_with_drawn_images_do_not_pass_for_the_runs(tmp_path, capsys):
    job = job_of("table2", "simsiam-cifar10-dssl")
    write_run(tmp_path, job, [30, 40, 41, 42, 43, 44], data="drawn")
    assert reproduce("table2", "--cells", job.name, "--data", tmp_path, "--out", tmp_path) == 2
    assert f"{job.name} was trained on other images" in capsys.readouterr().err


def test_shortened_or_earlier_linear_evaluation_is_not_the_runs(tmp_path):
    folder = write_run(tmp_path, job_of("table2", "simsiam-cifar10-dssl"), [30, 40, 41, 42, 43, 44])
    result = {
        "protocol": "linear",
        "checkpoint": "checkpoint.pt",
        "classifier_epochs": 100,
        "own_epochs": 100,
        "step": 3900,
    }
    for change, counts in (({"classifier_epochs": 1}, False), ({"step": 1560}, False), ({}, True)):
        (folder / "evaluation-linear.json").write_text(json.dumps(result | change))
        [kept] = kept_runs(tmp_path).values()
        assert ("linear" in kept.evaluations) == counts


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["table9"], "unknown experiment 'table9'; there is table1, table2"),
        (
            ["table2", "--cells", "nothing-*"],
            "--cells: no cell of table2 is called 'nothing-*'; there is simclr-cifar10-",
        ),
        (["table2", "--scale", "huge"], "--scale: expected one of small, full; got 'huge'"),
        (["table2"], "--data: expected a folder with the images"),
        (["table4"], "--imagenet: expected a folder with the images"),
        (["table2", "--set", "epochs"], "--set: expected NAME=VALUE; got 'epochs'"),
        (["table2", "--set", "seed=3"], "--set seed: it cannot be changed for all cells"),
        (["fig1", "--set", "heavy=UA"], "--set heavy: the cell 'simsiam-cifar10 w/ T-hat, Jigsaw(2)' sets it itself"),
        (["table2", "--set", "heavy-from=there"], "heavy_from: expected one of view, image, crop; got 'there'"),
        (["table2", "--set", "epoch=3"], "unknown setting --epoch; did you mean --epochs?"),
        (["collect"], "collect: expected to run in the source tree"),
    ],
)
def test_wrong_words_end_in_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "probe", lambda config: None)
    assert reproduce(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"dssl reproduce: {message}") and "\n" not in said and not list(tmp_path.iterdir())


# ---- the plan


def test_plan_says_what_is_there_and_how_long_the_rest_takes(tmp_path, capsys):
    finished, interrupted, begun = (job_of("table2", name) for name in SIMSIAM)
    write_run(tmp_path, finished, [30, 40, 41, 42, 43, 44])  # 500 s
    write_run(tmp_path, interrupted, [30, 31, 32], evaluated=False)  # 4 of 10 epochs in 200 s
    with held_by_another(tmp_path / begun.name):
        assert reproduce("table2", "--cells", "simsiam-cifar10-*", "--out", tmp_path, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[-1]: " ".join(line.split()[:-1]) for line in lines if "seed0" in line}
    assert rows[finished.name] == "finished epoch 10 of 10 -"
    assert rows[interrupted.name] == "interrupted epoch 4 of 10 5 min"  # 300 s at the same speed
    assert rows[begun.name] == "running 8 min"
    assert any(line.split()[:2] == ["to", "go"] and "13 min; speed from logs" in line for line in lines)


def test_full_scale_plan_prints_recipe_cost_and_expectation(tmp_path, capsys):
    assert reproduce("table2", "--scale", "full", "--dry-run", "--out", tmp_path) == 0
    said = capsys.readouterr().out
    parts = re.split(r"^(?=\S+-seed0  \()", said, flags=re.M)[1:]
    assert len(parts) == 24
    part = next(part for part in parts if part.startswith("simsiam-cifar10-dssl"))
    words = " ".join(part.split())
    expected = "the paper: 94.5 % top-1|of it the encoder 533 PFLOP (1111 MFLOP a view|GiB in float32 over all devices"
    for text in expected.split("|"):
        assert text in words, text
    assert (
        "heavy RA(2,5)+Jigsaw(4)" in words
        and "encoder resnet18_cifar" in words
        and "warmup_epochs 10" in words
        and "batch_size 512" in words
    )
    command = re.search(r"alone +dssl (train .*) --data PATH --out OUT/(\S+)", part)
    assert command[2] == "simsiam-cifar10-dssl-seed0" and "--variant dssl" in command[1]
    assert sum("the paper: collapse" in one for one in parts) == 2 and "precision fp32" in words


def test_the_command_for_one_run_alone_has_the_changes_of_all(tmp_path, capsys):
    words = ["--cells", "simsiam-cifar10-dssl*", "--set", "lr=0.1", "loss-scale=mean"]
    assert reproduce("table2", "--scale", "full", "--dry-run", "--out", tmp_path, *words) == 0
    alone = re.search(r"alone +dssl train (\S+) (.*) --data PATH --out OUT/(\S+)", capsys.readouterr().out)
    [job] = jobs("table2", "full", globs=["simsiam-cifar10-dssl*"], changes={"lr": "0.1", "loss_scale": "mean"})
    options = alone[2].removeprefix("--").split(" --")
    typed = {name.replace("-", "_"): text for name, text in (one.split(" ", 1) for one in options)}
    assert override(PRESETS[alone[1]][typed.pop("scale")], typed) == job.config and alone[3] == job.name


def test_a_gpus_logs_say_nothing_of_this_machine(tmp_path):
    """Nor the other way round: where there is a GPU, a CPU's."""
    one, other = (job_of("table2", name) for name in SIMSIAM[:2])
    elsewhere = {"cpu": "cuda", "cuda": "cpu"}[chosen("auto")]
    write_run(tmp_path, one, [30, 40, 41, 42, 43, 44], device=elsewhere)
    steps, source = plan.plan([one, other], tmp_path, measure=False)
    assert [step.seconds for step in steps] == [0.0, None] and source.startswith("nothing")


def test_every_table_has_a_full_scale_plan(capsys, tmp_path):
    for name in ("table1", "table3", "table4", "table5", "fig1", "fig4", "fig5", "soft", "long"):
        assert reproduce(name, "--scale", "full", "--dry-run", "--out", tmp_path) == 0
        said = capsys.readouterr().out
        assert ("dssl detect OUT/simsiam-imagenet-dssl-seed0" if name == "table5" else "memory") in said


# ---- the report


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
    assert reproduce("table2", "--report", "--out", runs, "--seeds", 0, 1, "--cells", "*cifar10*", *more) == 0
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


def test_torn_logs_and_strange_folders_do_no_harm(tmp_path):
    folder = write_run(tmp_path, job_of("table2", SIMSIAM[0]), [30, 40, 41, 42, 43, 44])
    whole = (folder / "log.csv").read_text()
    (folder / "log.csv").write_text(whole[: -len(whole.splitlines()[-1]) // 2 - 1])
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.json").write_text(json.dumps({"settings": {"colour": 1}}))
    [kept] = kept_runs(tmp_path).values()
    assert kept.epoch == 8 and not kept.finished
