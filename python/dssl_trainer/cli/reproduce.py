"""`dssl reproduce`."""

import argparse
from pathlib import Path

ABOUT = """\
Run the cells of a table or figure of the paper one after the other, and put their numbers beside the paper's.

EXPERIMENT is table1 .. table5, fig1, fig4, fig5, soft (DSSL whose directed terms fade with severity, against DSSL)
or long (baseline against DSSL, 100 epochs). The plan comes first. Finished runs are skipped, interrupted ones resume;
the same command on several machines that share --out, or in several processes, shares the runs out. Folders of runs
made elsewhere, also by `dssl train`, count once copied into --out. --out/EXPERIMENT.md, .html and .png are the report.

`dssl reproduce collect` copies the small files of finished runs from --out into reproduction/<scale> of the source
tree, and renews the tables in README.md and docs/reproduction.md from there."""


def add(commands):
    command = commands.add_parser(
        "reproduce", help="a table or figure of the paper", description=ABOUT, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument("experiment", metavar="EXPERIMENT", help="table2, fig1, .., or collect")
    command.add_argument("--scale", default="small", help="small: two CPU cores; full: the paper's [small]")
    command.add_argument("--cells", nargs="+", default=(), metavar="GLOB", help="only runs of these names, such as "
                         "'simsiam-cifar10-*' [all]")  # fmt: skip
    command.add_argument("--seeds", nargs="+", type=int, default=(0,), metavar="N", help="[0]")
    command.add_argument("--data", metavar="PATH", help="CIFAR-10, as for `dssl train`")
    command.add_argument("--imagenet", metavar="PATH", help="ImageNet, as for `dssl train`")
    command.add_argument("--out", metavar="DIR", help="folder of the run folders [runs/reproduce-<scale>]")
    command.add_argument("--set", nargs="+", default=(), metavar="NAME=VALUE", dest="changes",
                         help="settings of `dssl train` for all runs, such as threads=1 epochs=20")  # fmt: skip
    command.add_argument("--dry-run", action="store_true", help="print the plan only; at full scale with every recipe")
    command.add_argument("--report", action="store_true", help="write the report of what is there, and run nothing")
    command.set_defaults(run=run)


def run(options):
    from ..reproduce import session

    out = Path(options.out or f"runs/reproduce-{options.scale}")
    if options.experiment == "collect":
        return session.collect(out, options.scale)
    if options.experiment == "table5":
        return session.table5(options.scale, out)
    return session.reproduce(options, out)
