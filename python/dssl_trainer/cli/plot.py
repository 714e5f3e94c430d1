"""`dssl plot`."""


def add(commands):
    about = ("Draw the curves of runs in one figure (loss, kNN, effective rank, std, cosines), and write report.html "
             "into each: one file with curves, gallery, results and settings, complete in itself.")  # fmt: skip
    command = commands.add_parser("plot", help="curves of runs, and an HTML report of each", description=about)
    command.add_argument("run_places", nargs="+", metavar="RUN", help="folder of a run")
    command.add_argument("--out", default="plot.png", metavar="FILE", help="png, pdf or svg [plot.png]")
    command.set_defaults(run=run)


def run(options):
    from ..record import read_record, subtitle
    from ..reports.curves import plot
    from ..reports.html_report import write_report

    records = [read_record(place) for place in dict.fromkeys(options.run_places)]
    names = [record.folder.resolve().name for record in records]
    if len(set(names)) < len(names):
        names = [str(record.folder) for record in records]
    lines = [f"{name}: {r.config.variant}, {subtitle(r.config, r.about)}" for name, r in zip(names, records)]
    plot({name: r.rows for name, r in zip(names, records)}, options.out, "\n".join(lines))
    print("\n".join([options.out, *(str(write_report(record.folder)) for record in records)]))
