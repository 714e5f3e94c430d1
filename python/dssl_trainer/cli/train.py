"""`dssl train`."""

import argparse
import dataclasses

from ..config import LAYOUTS, Config, override, show, unknown
from ..errors import TrainerError
from ..presets import GIVEN, PRESETS

CHOSEN_BY_PRESET = ("method", "dataset", "scale")
DEFAULTS = {"data": "none: say where", "out": "runs/<preset>-<variant>-<scale>-seed<N>"}
ABOUT_TRAIN = """\
Train one recipe. Run the same command again to resume. Every setting can be overridden.
Values in brackets are those of simsiam-cifar10 at --scale small; `dssl show METHOD-DATASET` prints a recipe's own."""
ABOUT_FULL = "small: two CPU cores; full: the authors' optimiser and networks with the paper's heavy policy [small]"


def add(commands):
    train = commands.add_parser(
        "train", help="train one recipe", description=ABOUT_TRAIN, allow_abbrev=False,
        epilog="layouts of --data:\n" + "\n".join(f"  {line}" for line in LAYOUTS.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    train.add_argument("preset", metavar="METHOD-DATASET", help=", ".join(PRESETS))
    train.add_argument("--scale", default="small", help=ABOUT_FULL)
    add_settings(train)
    train.set_defaults(run=run)


def add_settings(command):
    """An option for every setting; what is not typed stays out of the namespace."""
    for spec in dataclasses.fields(Config):
        if spec.name in CHOSEN_BY_PRESET:
            continue
        names = dict.fromkeys((f"--{spec.name.replace('_', '-')}", f"--{spec.name}"))
        shown = DEFAULTS.get(spec.name, show(spec.default))
        about = f"{spec.metadata['about']} [{shown}]".replace("%", "%%")
        alone = {"nargs": "?", "const": "true"} if spec.type == "bool" else {}  # --download means --download true
        command.add_argument(
            *names, dest=spec.name, default=argparse.SUPPRESS, metavar=metavar(spec), help=about, **alone
        )


def metavar(spec):
    if spec.name in ("data", "out"):
        return "PATH"
    kinds = {"int": "N", "float": "X", "str": "TEXT", "bool": "true|false"}
    kinds |= {"tuple[int, ...]": "N-N", "tuple[float, ...]": "X-X"}
    return "|".join(spec.metadata["choices"] or [kinds[spec.type]])


def run(options):
    config, origins = config_of(options), origin_of(options)
    from ..reports.html_report import write_report
    from ..train import train

    if train(config, origin=origins) is not None:  # of several processes the first
        write_report(config.out)


def preset_of(options):
    if options.preset not in PRESETS:
        raise TrainerError(f"unknown recipe {options.preset!r}; there is {', '.join(PRESETS)}")
    if options.scale not in PRESETS[options.preset]:
        raise TrainerError(f"--scale: expected one of {', '.join(PRESETS[options.preset])}; got {options.scale!r}")
    return PRESETS[options.preset][options.scale]


def typed(options):
    """{setting: text} of what stands on the command line."""
    names = {spec.name for spec in dataclasses.fields(Config)} - set(CHOSEN_BY_PRESET)
    return {name: text for name, text in vars(options).items() if name in names}


def config_of(options):
    """The preset's Config with the command line's overrides."""
    preset, texts = preset_of(options), typed(options)
    if "data" not in texts:
        raise TrainerError("--data: expected a folder with the images, or 'drawn' for synthetic ones; got nothing")
    config = override(preset, texts)
    if "out" not in texts:
        out = f"runs/{options.preset}-{config.variant}-{options.scale}-seed{config.seed}"
        config = dataclasses.replace(config, out=out)
    return config


def origin_of(options):
    """{setting: where its value comes from}."""
    given = {spec.name: "default" for spec in dataclasses.fields(Config)}
    preset = dict.fromkeys(GIVEN[options.preset][options.scale], "preset")
    return given | preset | dict.fromkeys(typed(options), "command line")


def unknown_setting(name):
    return unknown(name, [spec.name for spec in dataclasses.fields(Config)])
