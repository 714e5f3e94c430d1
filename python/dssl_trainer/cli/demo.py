"""`dssl demo`."""

import os


def add(commands):
    about = "Show views, then train the three variants side by side at toy scale: offline, in minutes."
    demo = commands.add_parser("demo", help="a tour in minutes, offline", description=about, allow_abbrev=False)
    demo.add_argument("--data", default=os.environ.get("DSSL_DATA") or "drawn",
                      help="folder with CIFAR-10, as for `dssl train`; without it, and without DSSL_DATA in "
                           "the environment, images that the package draws itself")  # fmt: skip
    demo.add_argument("--out", default="dssl-demo", help="folder for pictures and logs [dssl-demo]")
    demo.add_argument("--max-steps", type=int, default=0, help="stop each variant after this many steps; 0: all")
    demo.add_argument("--seed", type=int, default=0, help="of initial weights, data order and views [0]")
    demo.set_defaults(run=run)


def run(options):
    from ..demo import demo

    demo(data=options.data, out=options.out, max_steps=options.max_steps, seed=options.seed)
