"""`dssl show`."""

import dataclasses

from ..config import Config, override, show
from ..presets import ABOUT, PRESETS
from .train import ABOUT_FULL, add_settings, origin_of, preset_of, typed


def add(commands):
    about = "Print every setting of a recipe with its origin: preset, default, or this command line."
    command = commands.add_parser("show", help="print a recipe", description=about, allow_abbrev=False)
    command.add_argument("preset", metavar="METHOD-DATASET", help=", ".join(PRESETS))
    command.add_argument("--scale", default="small", help=ABOUT_FULL)
    add_settings(command)
    command.set_defaults(run=run)


def run(options):
    config, origins = override(preset_of(options), typed(options)), origin_of(options)
    print(f"{options.preset}, scale {options.scale}. {ABOUT[options.preset]}\n")
    for spec in dataclasses.fields(Config):
        value = show(getattr(config, spec.name)) or "(none)"
        print(f"{spec.name:18}{value or '(none)':22}{origins[spec.name]:14}{spec.metadata['about']}")
