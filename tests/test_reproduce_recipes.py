"""The full recipes against the facts about them, line by line: a table typed from the sources (the methods' official
repositories, the authors' released code, and the paper), not from the presets. Every cell of every table is one of
these recipes with the variant and heavy policy that the table names."""

from collections import Counter

import pytest
from dssl_trainer.data.views import view_maker
from dssl_trainer.experiments import TABLE5
from dssl_trainer.presets import PRESETS
from dssl_trainer.reproduce.cells import jobs
from dssl_trainer.variants import graph

# What all recipes on a data set share. CIFAR-10: ResNet-18 with the CIFAR stem, 800 epochs; ImageNet: torchvision's
# ResNet-50, 100 epochs; batch 512; T: crop, flip, jitter p 0.8, grey 0.2 (no blur on CIFAR-10; p 0.5 on ImageNet).
CIFAR10 = dict(encoder="resnet18_cifar", epochs=800, image_size=32, batch_size=512, crop=(0.2, 1.0), jitter_p=0.8,
               interpolation="bilinear", jitter=(0.4, 0.4, 0.4, 0.1), grayscale=0.2, blur=(0, 0), solarize=(0, 0),
               normalize=True, momentum=0.9, zero_init=False, fan_in_init=False, lr_1d=0, lr_end=0,
               fix_predictor_lr=False, accumulate=1, knn_k=200, knn_temperature=0.1)  # fmt: skip
IMAGENET = CIFAR10 | dict(encoder="resnet50", epochs=100, image_size=224, blur=(0.5, 0.5))
# Sec. 4.1: RA(2,5), then Jigsaw(4), of v; alpha = gamma = 1; the authors' op list and their scale of the loss.
PAPER = dict(heavy="RA(2,5)+Jigsaw(4)", op_set="author16", heavy_from="view", alpha=1, beta=0, gamma=1, delta=0,
             loss_scale="sum")  # fmt: skip
SGD = dict(optimizer="sgd", bn_splits=1)
LARS = dict(optimizer="lars", trust=1e-3, weight_decay=1e-6, bn_splits=1, schedule="step")
BYOL_HEADS = dict(projector=(4096, 256), predictor=4096, projector_norm="none", ema=0.99, ema_schedule="constant")
SIMCLR_VIEW = dict(crop=(0.08, 1.0), interpolation="bicubic", normalize=False)
BYOL_VIEW = dict(crop=(0.08, 1.0), interpolation="bicubic", jitter=(0.4, 0.4, 0.2, 0.1), blur=(1.0, 0.1),
                 solarize=(0.0, 0.2))  # fmt: skip

FACTS = {
    # the authors' code: base lr 0.03 x 512/256, decay 5e-4 on all, warm-up 10, cosine per epoch; 2048-2048, BN fixed
    "simsiam-cifar10": CIFAR10 | SGD | dict(
        lr=0.06, weight_decay=5e-4, warmup_epochs=10, schedule="epoch", projector=(2048, 2048), projector_norm="fixed",
        predictor=512),
    # the authors' code: lr 0.05 x 512/256, 1e-4 on all, no warm-up; three layers, last BN affine, U(+-1/sqrt(fan in))
    "simsiam-imagenet": IMAGENET | SGD | dict(
        lr=0.1, weight_decay=1e-4, warmup_epochs=0, schedule="epoch", projector=(2048, 2048, 2048), predictor=512,
        projector_norm="affine", fan_in_init=True),
    # unreleased: "the same SGD optimiser and schedule of SimSiam", the heads of the authors' BYOL, EMA 0.99
    "byol-cifar10": CIFAR10 | SGD | BYOL_HEADS | dict(lr=0.06, weight_decay=5e-4, warmup_epochs=10, schedule="epoch"),
    "byol-imagenet": IMAGENET | SGD | BYOL_HEADS | dict(lr=0.1, weight_decay=1e-4, warmup_epochs=0, schedule="epoch"),
    # unreleased for ResNet-18 at 512: lr 1.0 x 512/256, T 0.5, s 0.5, decay 1e-6; 512-512-128, shift of the last BN 0
    "simclr-cifar10": CIFAR10 | LARS | SIMCLR_VIEW | dict(
        lr=2.0, temperature=0.5, warmup_epochs=10, projector=(512, 128), projector_norm="scale"),
    # simclr-pytorch: lr 0.3 x 512/256, T 0.1, warm-up 10 %, s 1
    "simclr-imagenet": IMAGENET | LARS | SIMCLR_VIEW | dict(
        lr=0.6, temperature=0.1, warmup_epochs=10, projector=(2048, 128), projector_norm="scale",
        jitter=(0.8, 0.8, 0.8, 0.2)),
    # MoCo's notebook: one linear layer, K 4096, m 0.99, T 0.1, lr 0.03 x 512/256, 5e-4, crop from 0.08, 8 groups
    "mocov2-cifar10": CIFAR10 | dict(
        optimizer="sgd", lr=0.06, weight_decay=5e-4, warmup_epochs=0, schedule="epoch", projector=(128,), bn_splits=8,
        projector_norm="none", queue=4096, ema=0.99, ema_schedule="constant", temperature=0.1, symmetric=False,
        crop=(0.08, 1.0)),
    # official: 2048-2048-128, K 65,536, m 0.999, T 0.2, lr 0.03 x 512/256, 1e-4, cosine per epoch, 8 GPUs
    "mocov2-imagenet": IMAGENET | dict(
        optimizer="sgd", lr=0.06, weight_decay=1e-4, warmup_epochs=0, schedule="epoch", projector=(2048, 128),
        bn_splits=8, projector_norm="none", queue=65536, ema=0.999, ema_schedule="constant", temperature=0.2,
        symmetric=False),
    # lightly's benchmark: SGD 0.06 x 512/128, 5e-4, two layers of 2048, lambda 0.005, loss unscaled
    "barlow-cifar10": CIFAR10 | SGD | dict(
        lr=0.24, weight_decay=5e-4, warmup_epochs=10, schedule="step", projector=(2048, 2048), projector_norm="none",
        lambd=0.005, barlow_scale=1),
    # official: 8192-8192-8192, zero-init, lambda 0.0051, lr 0.2 and 0.0048 (biases, BN) x 512/256, cosine to 0.001
    "barlow-imagenet": IMAGENET | LARS | BYOL_VIEW | dict(
        lr=0.4, lr_1d=0.0096, lr_end=0.001, warmup_epochs=10, projector=(8192, 8192, 8192), projector_norm="none",
        lambd=0.0051, barlow_scale=1, zero_init=True),
}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_full_recipes_are_those_of_the_sources(name):
    config = vars(PRESETS[name]["full"])
    facts = FACTS[name] | PAPER | {"scale": "full", "method": name.split("-")[0], "dataset": name.split("-")[1]}
    assert {key: config[key] for key in facts} == facts
    assert config["limit_train"] == config["limit_test"] == config["max_steps"] == 0


def cells(experiment):
    """{(recipe, variant, heavy policy): the paper's number} of the full-scale jobs."""
    found = {}
    for job in jobs(experiment, "full"):
        usual = PAPER | {"heavy": job.config.heavy}
        assert {name: getattr(job.config, name) for name in usual} == usual, "a cell alters more than its heavy policy"
        facts = FACTS[job.cell.recipe]
        assert {name: getattr(job.config, name) for name in facts} == facts
        found[job.cell.recipe, job.config.variant, job.config.heavy] = job.cell.paper
    return found


def rows(heavy, **numbers):
    """{(recipe, variant, heavy): number} of rows of three numbers: repro., w/ T-hat, w/ DSSL; None: no such cell."""
    return {
        (recipe.replace("_", "-"), variant, heavy): number
        for recipe, three in numbers.items()
        for variant, number in zip(("baseline", "heavy", "dssl"), three)
        if number is not None
    }


def test_table_2():
    assert cells("table2") == rows(
        "RA(2,5)+Jigsaw(4)", simclr_cifar10=(91.5, 92.2, 93.2), byol_cifar10=(92.2, 94.4, 94.7),
        simsiam_cifar10=(92.1, "collapse", 94.5), simclr_imagenet=(59.5, 60.0, 60.3), byol_imagenet=(67.8, 68.3, 68.3),
        simsiam_imagenet=(67.4, "collapse", 68.6), mocov2_imagenet=(64.4, 64.2, 65.3),
        barlow_imagenet=(62.4, 62.0, 62.6),
    )  # fmt: skip


def test_tables_1_3_and_4():
    usual, three = "RA(2,5)+Jigsaw(4)", "RA(2,5)+UA+Jigsaw(4)"
    none = (None, None)
    assert cells("table1") == rows(
        usual, simclr_imagenet=(59.5, *none), simsiam_imagenet=(67.4, *none), byol_imagenet=(67.8, *none))  # fmt: skip
    assert cells("table3") == (
        rows(usual, byol_cifar10=(92.2, *none), byol_imagenet=(67.8, *none))
        | rows("RA(4,10)", byol_cifar10=(None, 84.1, 94.4))
        | rows("RA(8,16)", byol_cifar10=(None, "collapse", 94.0), byol_imagenet=(None, 60.6, 67.8))
        | {("byol-imagenet", "dssl", "byol_harder"): None}  # the authors' code, which the paper has no number for
    )
    assert cells("table4") == rows(
        three, simclr_imagenet=(None, 55.7, 60.8), byol_imagenet=(None, 67.1, 69.3),
        simsiam_imagenet=(None, "collapse", 67.7))  # fmt: skip


def test_fig_1():
    facts = {"Jigsaw(2)": (92.79, 93.56), "Jigsaw(4)": (89.72, 91.95), "RA(1,1)": (88.00, 92.29),
             "RA(2,1)": (82.80, 93.09), "RA(2,5)": ("collapse", 94.17), "UA": (91.11, 93.27)}  # fmt: skip
    expected = rows("RA(2,5)+Jigsaw(4)", simsiam_cifar10=(92.17, None, None))
    for heavy, numbers in facts.items():
        expected |= rows(heavy, simsiam_cifar10=(None, *numbers))
    assert cells("fig1") == expected


FIG4 = {  # variant, and what differs from the recipe with RA(2,5) alone
    "c": ("heavy", {"heavy_views": "hh"}, "collapse"), "d": ("heavy", {"heavy_views": "sh"}, 59.7),
    "e": ("heavy", {"heavy_views": "all"}, 20.4), "f": ("dssl", {"beta": 1}, "collapse"),
    "g": ("dssl", {"heavy_from": "crop"}, 93.1), "h": ("dssl", {"delta": 1}, "collapse"),
    "i": ("dssl", {"heavy_from": "image"}, 93.7), "j": ("dssl", {}, 94.2),
}  # fmt: skip


def test_fig_4():
    found = jobs("fig4", "full")
    assert [job.cell.label for job in found] == list(FIG4)
    for job in found:
        variant, changes, number = FIG4[job.cell.label]
        facts = FACTS["simsiam-cifar10"] | PAPER | {"heavy": "RA(2,5)", "heavy_views": "hh"} | changes
        assert {name: getattr(job.config, name) for name in facts} == facts
        assert (job.config.variant, job.cell.paper) == (variant, number)


STANDARD = {"ResizedCrop", "HorizontalFlip", "Brightness", "Contrast", "Color", "Hue", "Grayscale"}
# What each of the four views starts from, with ^ where RA follows; then the terms (p of a view, z of a view).
FIG4_VIEWS = {
    "c": ["crop ^", "crop ^", "crop ^", "crop ^"], "d": ["crop", "crop ^", "crop", "crop ^"],
    "g": ["crop", "crop", "crop ^", "crop ^"], "i": ["crop", "crop", "image ^", "image ^"],
} | {letter: ["crop", "crop", "view 0 ^", "view 1 ^"] for letter in "efhj"}  # fmt: skip
PAIR, HEAVY_PAIR, FORWARD, REVERSE = {(0, 1), (1, 0)}, {(2, 3), (3, 2)}, {(2, 0), (3, 1)}, {(0, 2), (1, 3)}
FIG4_TERMS = {
    "c": PAIR | HEAVY_PAIR, "d": PAIR | HEAVY_PAIR, "e": PAIR | HEAVY_PAIR | FORWARD | REVERSE,
    "f": PAIR | HEAVY_PAIR | FORWARD, "g": PAIR | FORWARD, "h": PAIR | FORWARD | REVERSE, "i": PAIR | FORWARD,
    "j": PAIR | FORWARD,
}  # fmt: skip


def starts(steps):
    """[(start, names of its steps)] of the views of one image."""
    found, start, names = {}, "image", []
    for name, values in steps:
        if name == "Source":
            start, names = "image", []
        elif name == "Emit":
            view = int(values[0])
            found[view], start, names = (start, names), f"view {view}", []
        else:
            if name == "ResizedCrop" and values[:4] != (0, 0, 32, 32):
                start = "crop"
            names.append(name)
    return [found[view] for view in sorted(found)]


@pytest.mark.parametrize("letter", FIG4)
def test_fig_4_makes_the_views_and_terms_of_its_letter(letter):
    [job] = jobs("fig4", "full", globs=[letter])
    program = view_maker(job.config, normalized=False).sample([(32, 32)] * 64, seed=5)
    for view, expected in enumerate(FIG4_VIEWS[letter]):
        of_images = [starts(program.steps(image))[view] for image in range(64)]
        start = Counter(start for start, _ in of_images).most_common(1)[0][0]
        heavy = any(not set(names) <= STANDARD for _, names in of_images)
        assert start + " ^" * heavy == expected, f"view {view}"
    edges = {(i, j): weight for i, j, weight in graph(job.config).edges}
    assert edges.keys() == FIG4_TERMS[letter] and set(edges.values()) == {0.5}


def test_fig_5_keeps_the_sum_of_gamma_and_delta():
    found = jobs("fig5", "full")
    assert len(found) >= 5 and found[0].config.delta == 0 and found[-1].config.delta == 1
    for job in found:
        facts = FACTS["simsiam-cifar10"] | PAPER | {"heavy": "RA(2,5)"}
        facts |= {"delta": job.config.delta, "gamma": pytest.approx(1 - job.config.delta), "variant": "dssl"}
        assert {name: getattr(job.config, name) for name in facts} == facts
        weights = dict.fromkeys(PAIR, 0.5) | dict.fromkeys(FORWARD, facts["gamma"].expected / 2)
        weights |= dict.fromkeys(REVERSE, job.config.delta / 2)
        edges = {(i, j): weight for i, j, weight in graph(job.config).edges}
        assert edges == pytest.approx({pair: weight for pair, weight in weights.items() if weight})


def test_table_5_starts_from_table_2():
    starts = {row.label: row.start and (row.start.recipe, row.start.settings["variant"]) for row in TABLE5}
    assert starts == {"ImageNet, supervised": None, "BYOL repro.": ("byol-imagenet", "baseline"),
                      "BYOL w/ DSSL": ("byol-imagenet", "dssl"), "SimSiam repro.": ("simsiam-imagenet", "baseline"),
                      "SimSiam w/ DSSL": ("simsiam-imagenet", "dssl")}  # fmt: skip
    assert [row.paper for row in TABLE5] == [
        (59.2, 37.7, 40.9, 55.8, 33.9, 35.8), (56.9, 36.9, 40.2, 54.1, 34.0, 36.5),
        (57.8, 37.6, 40.8, 55.0, 34.6, 37.0), (58.0, 37.7, 40.9, 55.0, 34.7, 37.1),
        (58.2, 38.1, 41.5, 55.5, 35.1, 37.6)]  # fmt: skip
