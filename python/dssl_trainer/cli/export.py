"""`dssl export`."""

from .run_options import ABOUT_RUN


def add(commands):
    about = "Write a run's encoder for another library, which loads it strictly; prints how."
    command = commands.add_parser("export", help="the encoder for torchvision, timm or detectron2", description=about)
    command.add_argument("run_place", metavar="RUN", help=ABOUT_RUN)
    command.add_argument("--to", required=True, metavar="NAME", help="torchvision, timm or detectron2")
    command.add_argument("--out", metavar="FILE", help="[<encoder>-<NAME>.pth or .pkl beside the checkpoint]")
    command.set_defaults(run=run)


def run(options):
    from ..export import export

    path, how = export(options.run_place, options.to, options.out)
    print(f"{path}\n{how}")
