"""The command `dssl`. Errors end in one line and exit code 2."""

import argparse
import dataclasses
import os
import sys

from .config import LAYOUTS, Config, TrainerError, override, show, unknown
from .interruption import Interrupted
from .presets import PRESETS

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
    add_demo(commands)
    return root


def unexpected(argument, options):
    if options.command == "train" and argument.startswith("--"):
        name = argument[2:].split("=")[0].replace("-", "_")
        return unknown(name, [spec.name for spec in dataclasses.fields(Config)])
    return f"unexpected argument {argument!r} (`dssl {options.command} --help` lists all)"


# ---- dssl train


DEFAULTS = {"data": "none: say where", "out": "runs/<preset>-<variant>-<scale>-seed<N>"}
ABOUT_TRAIN = """\
Train one recipe. Run the same command again to resume. Every setting can be overridden.
Values in brackets are those of --scale small."""
ABOUT_FULL = "small: two CPU cores; full: the authors' optimiser and networks with the paper's heavy policy [small]"


def add_train(commands):
    train = commands.add_parser(
        "train", help="train one recipe", description=ABOUT_TRAIN, allow_abbrev=False,
        epilog="layouts of --data:\n" + "\n".join(f"  {line}" for line in LAYOUTS.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    train.add_argument("preset", metavar="METHOD-DATASET", help=", ".join(PRESETS))
    train.add_argument("--scale", default="small", help=ABOUT_FULL)
    for spec in dataclasses.fields(Config):
        if spec.name in CHOSEN_BY_PRESET:
            continue
        names = dict.fromkeys((f"--{spec.name.replace('_', '-')}", f"--{spec.name}"))
        shown = DEFAULTS.get(spec.name, show(spec.default))
        about = f"{spec.metadata['about']} [{shown}]".replace("%", "%%")
        alone = {"nargs": "?", "const": "true"} if spec.type == "bool" else {}  # --download means --download true
        train.add_argument(
            *names, dest=spec.name, default=argparse.SUPPRESS, metavar=metavar(spec), help=about, **alone
        )
    train.set_defaults(run=run_train)


def metavar(spec):
    if spec.name in ("data", "out"):
        return "PATH"
    kinds = {"int": "N", "float": "X", "str": "TEXT", "bool": "true|false", "tuple[int, ...]": "N-N"}
    return "|".join(spec.metadata["choices"] or [kinds[spec.type]])


def run_train(options):
    config = config_of(options)
    from .train import train  # imports torch: a wrong option should not wait for it

    train(config)


def config_of(options):
    """The preset's Config with the command line's overrides."""
    if options.preset not in PRESETS:
        raise TrainerError(f"unknown recipe {options.preset!r}; there is {', '.join(PRESETS)}")
    scales = PRESETS[options.preset]
    if options.scale not in scales:
        raise TrainerError(f"--scale: expected one of {', '.join(scales)}; got {options.scale!r}")
    names = {spec.name for spec in dataclasses.fields(Config)} - set(CHOSEN_BY_PRESET)
    texts = {name: text for name, text in vars(options).items() if name in names}
    if "data" not in texts:
        raise TrainerError("--data: expected a folder with the images, or 'drawn' for synthetic ones; got nothing")
    config = override(scales[options.scale], texts)
    if "out" not in texts:
        out = f"runs/{options.preset}-{config.variant}-{options.scale}-seed{config.seed}"
        config = dataclasses.replace(config, out=out)
    return config


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
