"""The paper's tables and figures as data: which recipe, which settings, and the number that the paper prints.

EXPERIMENTS[name] is a tuple of Cell. `paper` is linear evaluation's top-1 in percent, "collapse", or None where the
text gives none. A cell is what `dssl train <recipe> --scale S` takes: settings here override the recipe's. `soft` and
`long` are ours. TABLE5, transfer to detection, is no run of its own: it starts from a run of Table 2.
"""

from dataclasses import dataclass, field

from .config import override
from .presets import PRESETS


@dataclass(frozen=True)
class Cell:
    label: str
    recipe: str
    paper: float | str | None
    settings: dict = field(default_factory=dict)  # as typed on the command line
    note: str = ""

    def config(self, scale):
        return override(PRESETS[self.recipe][scale], self.settings)


VARIANTS = {"repro.": "baseline", "w/ T-hat": "heavy", "w/ DSSL": "dssl"}


def row(recipe, numbers, **settings):
    """A line of a table: repro., w/ T-hat and w/ DSSL, those with a number."""
    cells = zip(VARIANTS.items(), numbers, strict=True)
    heavy = f", {settings['heavy']}" if "heavy" in settings else ""
    return tuple(
        Cell(f"{recipe} {label}{heavy}", recipe, number, {"variant": variant, **settings})
        for (label, variant), number in cells
        if number is not None
    )


TABLE1 = (
    Cell("SimCLR", "simclr-imagenet", 59.5, {"variant": "baseline"}),
    Cell("SimSiam", "simsiam-imagenet", 67.4, {"variant": "baseline"}),
    Cell("BYOL", "byol-imagenet", 67.8, {"variant": "baseline"}),
)
TABLE2 = (
    *row("simclr-cifar10", (91.5, 92.2, 93.2)),
    *row("byol-cifar10", (92.2, 94.4, 94.7)),
    *row("simsiam-cifar10", (92.1, "collapse", 94.5)),
    *row("simclr-imagenet", (59.5, 60.0, 60.3)),
    *row("byol-imagenet", (67.8, 68.3, 68.3)),
    *row("simsiam-imagenet", (67.4, "collapse", 68.6)),
    *row("mocov2-imagenet", (64.4, 64.2, 65.3)),
    *row("barlow-imagenet", (62.4, 62.0, 62.6)),
)
TABLE3 = (  # BYOL; on ImageNet what the authors released for it is the last cell, not what the text says
    *row("byol-cifar10", (92.2, None, None)),
    *row("byol-cifar10", (None, 84.1, 94.4), heavy="RA(4,10)"),
    *row("byol-cifar10", (None, "collapse", 94.0), heavy="RA(8,16)"),
    *row("byol-imagenet", (67.8, None, None)),
    *row("byol-imagenet", (None, 60.6, 67.8), heavy="RA(8,16)"),
    Cell(
        "byol-imagenet w/ DSSL, the authors' views",
        "byol-imagenet",
        None,
        {"variant": "dssl", "heavy": "byol_harder"},
        "released for the 67.8: RA(2,9) before the standard view, a second crop in the heavy one",
    ),
)
THREE = "RA(2,5)+UA+Jigsaw(4)"  # T-hat = {RA, UA, Jigsaw}: their order and probabilities are our guess
TABLE4 = (
    *row("simclr-imagenet", (None, 55.7, 60.8), heavy=THREE),
    *row("byol-imagenet", (None, 67.1, 69.3), heavy=THREE),
    *row("simsiam-imagenet", (None, "collapse", 67.7), heavy=THREE),
)


def fig1_row(heavy, plain, dssl):
    return row("simsiam-cifar10", (None, plain, dssl), heavy=heavy)


FIG1 = (
    *row("simsiam-cifar10", (92.17, None, None)),
    *fig1_row("Jigsaw(2)", 92.79, 93.56),
    *fig1_row("Jigsaw(4)", 89.72, 91.95),
    *fig1_row("RA(1,1)", 88.00, 92.29),
    *fig1_row("RA(2,1)", 82.80, 93.09),
    *fig1_row("RA(2,5)", "collapse", 94.17),  # printed as 9.78
    *fig1_row("UA", 91.11, 93.27),
)


def fig4(letter, paper, note, **settings):
    return Cell(letter, "simsiam-cifar10", paper, {"heavy": "RA(2,5)", **settings}, note)


# The drawing is not in the text: what each letter shows is read from Sec. 4.3.
FIG4 = (
    fig4("c", "collapse", "all views heavy, symmetric (our reading)", variant="heavy", heavy_views="hh"),
    fig4("d", 59.7, "pairs of standard and heavy, symmetric (our reading)", variant="heavy", heavy_views="sh"),
    fig4("e", 20.4, "Eq. 6, all ones (our reading)", variant="heavy", heavy_views="all"),
    fig4("f", "collapse", "heavy views symmetric among themselves: beta 1", variant="dssl", beta="1"),
    fig4("g", 93.1, "directed, heavy view of another crop (our reading)", variant="dssl", heavy_from="crop"),
    fig4("h", "collapse", "the reverse term in full: delta 1", variant="dssl", delta="1"),
    fig4("i", 93.7, "directed, heavy view of the image itself (our reading)", variant="dssl", heavy_from="image"),
    fig4("j", 94.2, "DSSL", variant="dssl"),
)


def fig5(delta):
    weights = {"delta": f"{delta:g}", "gamma": f"{1 - delta:g}"}
    return Cell(f"delta {delta:g}", "simsiam-cifar10", None, {"variant": "dssl", "heavy": "RA(2,5)", **weights})


# "RA is applied to construct hard views", without JigSaw; the text gives neither the values nor the numbers.
FIG5 = tuple(fig5(delta) for delta in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0))


def beyond(label, **settings):
    """A cell that the paper does not have."""
    return Cell(f"{label}, {settings['heavy']}", "simsiam-cifar10", None, settings)


SOFT = tuple(
    beyond(label, variant=variant, heavy=heavy)
    for heavy in ("RA(2,5)", "RA(4,10)", "RA(8,16)")
    for label, variant in (("DSSL", "dssl"), ("soft DSSL", "soft"))
)
LONG = (
    Cell("baseline, 100 epochs", "simsiam-cifar10", None, {"variant": "baseline", "epochs": "100"}),
    beyond("DSSL, 100 epochs", variant="dssl", heavy="RA(2,5)", epochs="100"),
)
LEFT_OUT = {  # {experiment: {what of it is not here: why}}
    "fig4": {"a and b": "the text neither describes them nor gives their numbers"},
    "fig5": {"the paper's numbers": "the text has neither them nor the values of delta"},
}
EXPERIMENTS = {
    "table1": TABLE1, "table2": TABLE2, "table3": TABLE3, "table4": TABLE4, "fig1": FIG1, "fig4": FIG4, "fig5": FIG5,
    "soft": SOFT, "long": LONG,
}  # fmt: skip
ABOUT = {
    "table1": "Table 1: the frameworks as reproduced, ImageNet",
    "table2": "Table 2: standard views, w/ T-hat and w/ DSSL",
    "table3": "Table 3: BYOL under heavier RandAugment",
    "table4": "Table 4: three heavy augmentations at once, ImageNet",
    "table5": "Table 5: transfer to COCO detection and segmentation",
    "fig1": "Fig. 1: SimSiam on CIFAR-10 by heavy augmentation",
    "fig4": "Fig. 4: constructions of views and losses",
    "fig5": "Fig. 5: the weight delta of the reverse term, gamma = 1 - delta",
    "soft": "Beyond the paper: DSSL with directed terms that fade with severity (soft)",
    "long": "The long pair: when does DSSL overtake the baseline?",
}


@dataclass(frozen=True)
class Transfer:
    """A row of Table 5: `paper` has AP50, AP, AP75 of boxes, then of masks; `start` is the cell of Table 2 (at full
    scale) whose encoder is fine-tuned, None for a supervised one, which this package does not train on ImageNet."""

    label: str
    start: Cell | None
    paper: tuple[float, ...]


def imagenet_cell(recipe, variant):
    return next(cell for cell in TABLE2 if cell.recipe == recipe and cell.settings["variant"] == variant)


TABLE5 = (
    Transfer("ImageNet, supervised", None, (59.2, 37.7, 40.9, 55.8, 33.9, 35.8)),
    Transfer("BYOL repro.", imagenet_cell("byol-imagenet", "baseline"), (56.9, 36.9, 40.2, 54.1, 34.0, 36.5)),
    Transfer("BYOL w/ DSSL", imagenet_cell("byol-imagenet", "dssl"), (57.8, 37.6, 40.8, 55.0, 34.6, 37.0)),
    Transfer("SimSiam repro.", imagenet_cell("simsiam-imagenet", "baseline"), (58.0, 37.7, 40.9, 55.0, 34.7, 37.1)),
    Transfer("SimSiam w/ DSSL", imagenet_cell("simsiam-imagenet", "dssl"), (58.2, 38.1, 41.5, 55.5, 35.1, 37.6)),
)
