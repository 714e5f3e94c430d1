"""The command `dssl`. Errors end in one line and exit code 2."""

import argparse
import dataclasses
import os
import sys

from . import after
from .config import LAYOUTS, Config, TrainerError, override, show, unknown
from .interruption import Interrupted
from .presets import ABOUT, GIVEN, PRESETS

CHOSEN_BY_PRESET = ("method", "dataset", "scale")


class Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse would print the whole usage first
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments=None):
    options, rest = parser().parse_known_args(arguments)
    try:
        if rest:
            raise TrainerError(unexpected(rest[0], options))
        options.run(options)
    except (TrainerError, OSError) as error:
        print(f"dssl {options.command}: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"dssl {options.command}: {stop}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print(
            f"dssl {options.command}: interrupted; nothing was saved since the last checkpoint",
            file=sys.stderr,
        )
        return 130
    return 0


def parser():
    root = Parser("dssl", description="Directional self-supervised learning: reference trainer of dssl_ops.")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    add_train(commands)
    add_show(commands)
    add_views(commands)
    add_demo(commands)
    after.add_evaluate(commands)
    after.add_export(commands)
    after.add_detect(commands)
    after.add_plot(commands)
    return root


def unexpected(argument, options):
    if options.command in ("train", "show") and argument.startswith("--"):
        name = argument[2:].split("=")[0].replace("-", "_")
        return unknown(name, [spec.name for spec in dataclasses.fields(Config)])
    return f"unexpected argument {argument!r} (`dssl {options.command} --help` lists all)"


# ---- dssl train


DEFAULTS = {"data": "none: say where", "out": "runs/<preset>-<variant>-<scale>-seed<N>"}
ABOUT_TRAIN = """\
Train one recipe. Run the same command again to resume. Every setting can be overridden.
Values in brackets are those of simsiam-cifar10 at --scale small; `dssl show METHOD-DATASET` prints a recipe's own."""
ABOUT_FULL = "small: two CPU cores; full: the authors' optimiser and networks with the paper's heavy policy [small]"


def add_train(commands):
    train = commands.add_parser(
        "train", help="train one recipe", description=ABOUT_TRAIN, allow_abbrev=False,
        epilog="layouts of --data:\n" + "\n".join(f"  {line}" for line in LAYOUTS.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    train.add_argument("preset", metavar="METHOD-DATASET", help=", ".join(PRESETS))
    train.add_argument("--scale", default="small", help=ABOUT_FULL)
    add_settings(train)
    train.set_defaults(run=run_train)


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


def run_train(options):
    config, origins = config_of(options), origin_of(options)
    from .html_report import write_report  # these import torch: a wrong option should not wait for it
    from .train import train

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


# ---- dssl show


def add_show(commands):
    about = "Print every setting of a recipe with its origin: preset, default, or this command line."
    command = commands.add_parser("show", help="print a recipe", description=about, allow_abbrev=False)
    command.add_argument("preset", metavar="METHOD-DATASET", help=", ".join(PRESETS))
    command.add_argument("--scale", default="small", help=ABOUT_FULL)
    add_settings(command)
    command.set_defaults(run=run_show)


def run_show(options):
    config, origins = override(preset_of(options), typed(options)), origin_of(options)
    print(f"{options.preset}, scale {options.scale}. {ABOUT[options.preset]}\n")
    for spec in dataclasses.fields(Config):
        value = show(getattr(config, spec.name)) or "(none)"
        print(f"{spec.name:18}{value or '(none)':22}{origins[spec.name]:14}{spec.metadata['about']}")


# ---- dssl views


ABOUT_VIEWS = """\
Draw what a policy does: for each image v, each step after it, v^, and the same for v'; or --op, single operations.
A policy is RandAugment RA(n,m), UniformAugment UA, Jigsaw(grid) or any transform, joined by +, or one of several:
'RA(2,5)+Jigsaw(4)', 'UA', 'Choice(0.9*RA(2,5), 0.1*Jigsaw(4))', 'RA(8,16) + Solarize(128, p=0.2)'."""


def add_views(commands):
    views = commands.add_parser("views", help="draw what a policy does", description=ABOUT_VIEWS, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    views.add_argument("place", nargs="?", metavar="IMAGE|FOLDER|ZIP", help="what to show it on [a drawn scene]")
    views.add_argument("--policy", default="RA(2,5)+Jigsaw(4)", metavar="TEXT", help="heavy policy [RA(2,5)+Jigsaw(4)]")
    views.add_argument("--standard", metavar="NAME|TEXT", help="cifar10, imagenet, byol, or a policy [cifar10 for "
                       "images up to 64 pixels, else imagenet]")  # fmt: skip
    views.add_argument("--size", type=int, metavar="N", help="side of the views [32 or 224]")
    views.add_argument("--op-set", metavar="NAME", help="author16, ra14 or ua15, where the policy names none "
                       "[author16 for RA, ua15 for UA]")  # fmt: skip
    views.add_argument("--op", metavar="NAME", help="draw this operation of the set, or all of them, by magnitude")
    views.add_argument("--images", type=int, default=4, metavar="N", help="at most so many of a folder [4]")
    views.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws [0]")
    views.add_argument("--out", default="gallery.png", metavar="FILE", help="png, pdf or svg [gallery.png]")
    views.set_defaults(run=run_views)


def run_views(options):
    from .gallery import draw

    names = ("place", "out", "policy", "standard", "size", "op_set", "seed", "images", "op")
    draw(*(getattr(options, name) for name in names))
    print(options.out)


# ---- dssl demo


def add_demo(commands):
    about = "Show views, then train the three variants side by side at toy scale: offline, in minutes."
    demo = commands.add_parser("demo", help="a tour in minutes, offline", description=about, allow_abbrev=False)
    demo.add_argument("--data", default=os.environ.get("DSSL_DATA") or "drawn",
                      help="folder with CIFAR-10, as for `dssl train`; without it, and without DSSL_DATA in "
                           "the environment, images that the package draws itself")  # fmt: skip
    demo.add_argument("--out", default="dssl-demo", help="folder for pictures and logs [dssl-demo]")
    demo.add_argument("--max-steps", type=int, default=0, help="stop each variant after this many steps; 0: all")
    demo.add_argument("--seed", type=int, default=0, help="of initial weights, data order and views [0]")
    demo.set_defaults(run=run_demo)


def run_demo(options):
    from .demo import demo

    demo(data=options.data, out=options.out, max_steps=options.max_steps, seed=options.seed)
