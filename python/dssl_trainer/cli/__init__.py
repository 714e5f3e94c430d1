"""The command `dssl`: one file per subcommand. Errors end in one line and exit code 2.

A file's `add` declares its options, its `run` imports what it needs: a wrong option should not wait for torch."""

import argparse
import os
import sys

from ..errors import TrainerError
from ..interruption import Interrupted
from . import demo, detect, evaluate, export, plot, reproduce, show, train, views


class Parser(argparse.ArgumentParser):
    def error(self, message):  # argparse would print the whole usage first
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments=None):
    options, rest = parser().parse_known_args(arguments)
    try:
        if rest:
            raise TrainerError(unexpected(rest[0], options.command))
        if options.command != "train" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise TrainerError("it is one process; start it without torchrun")
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
    for command in (train, show, views, demo, evaluate, export, detect, plot, reproduce):
        command.add(commands)
    return root


def unexpected(argument, command):
    if command in ("train", "show") and argument.startswith("--"):
        return train.unknown_setting(argument[2:].split("=")[0].replace("-", "_"))
    return f"unexpected argument {argument!r} (`dssl {command} --help` lists all)"
