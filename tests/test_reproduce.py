"""`dssl reproduce`: which runs an experiment has, what it finds on disk, its plan and its report."""

import dataclasses
import json
import re

import pytest
from dssl_trainer import cli
from dssl_trainer.config import override
from dssl_trainer.device import chosen
from dssl_trainer.errors import TrainerError
from dssl_trainer.experiments import EXPERIMENTS
from dssl_trainer.presets import PRESETS
from dssl_trainer.reproduce import plan
from dssl_trainer.reproduce.cells import jobs, kept_runs, key
from reproduce_setup import job_of, write_run
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


def test_torn_logs_and_strange_folders_do_no_harm(tmp_path):
    folder = write_run(tmp_path, job_of("table2", SIMSIAM[0]), [30, 40, 41, 42, 43, 44])
    whole = (folder / "log.csv").read_text()
    (folder / "log.csv").write_text(whole[: -len(whole.splitlines()[-1]) // 2 - 1])
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.json").write_text(json.dumps({"settings": {"colour": 1}}))
    [kept] = kept_runs(tmp_path).values()
    assert kept.epoch == 8 and not kept.finished
