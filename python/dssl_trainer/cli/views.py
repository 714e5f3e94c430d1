"""`dssl views`."""

import argparse

ABOUT_VIEWS = """\
Draw what a policy does: for each image v, each step after it, v^, and the same for v'; or --op, single operations.
A policy is RandAugment RA(n,m), UniformAugment UA, Jigsaw(grid) or any transform, joined by +, or one of several:
'RA(2,5)+Jigsaw(4)', 'UA', 'Choice(0.9*RA(2,5), 0.1*Jigsaw(4))', 'RA(8,16) + Solarize(128, p=0.2)'."""


def add(commands):
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
    views.set_defaults(run=run)


def run(options):
    from ..reports.gallery import draw

    names = ("place", "out", "policy", "standard", "size", "op_set", "seed", "images", "op")
    draw(*(getattr(options, name) for name in names))
    print(options.out)
