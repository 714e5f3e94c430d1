"""The commands of `dssl` for runs that are there: evaluate, export, detect, plot."""

ABOUT_RUN = "folder of a run (`dssl train --out`), or one of its checkpoint files"


def add_evaluate(commands):
    about = ("Evaluate a run's frozen encoder on the whole test set; each result goes to RUN/evaluation-PROTOCOL.json. "
             "Where a protocol of the authors picks the best epoch on the test set, that number stands beside, named "
             "so.")  # fmt: skip
    command = commands.add_parser("evaluate", help="kNN, linear, fast, supervised", description=about)
    command.add_argument("run_place", metavar="RUN", help=ABOUT_RUN)
    command.add_argument("--protocol", nargs="+", default=["knn", "fast"], metavar="NAME",
                         help="knn; linear, the authors' (SGD lr 30 on CIFAR-10, LARC on ImageNet); fast, L-BFGS on "
                         "cached features; supervised, the network trained with labels [knn fast]")  # fmt: skip
    command.add_argument("--epochs", type=positive, metavar="N", help="of linear and supervised [100, 90; the run's]")
    command.add_argument("--data", metavar="PATH", help="another place of the same images [the run's]")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, .. [auto]")
    command.add_argument("--seed", type=int, metavar="N", help="of the classifier and its batches [the run's]")
    command.set_defaults(run=run_evaluate)


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run_evaluate(options):
    from .protocols import describe, evaluate_run

    chosen = dict.fromkeys(options.protocol)
    results = evaluate_run(options.run_place, tuple(chosen), options.data, options.device, options.epochs, options.seed)
    print(results[0]["run"])
    for result in results:
        print(f"{describe(result)}\n{'':11}{result['file']}")


def add_export(commands):
    about = "Write a run's encoder for another library, which loads it strictly; prints how."
    command = commands.add_parser("export", help="the encoder for torchvision, timm or detectron2", description=about)
    command.add_argument("run_place", metavar="RUN", help=ABOUT_RUN)
    command.add_argument("--to", required=True, metavar="NAME", help="torchvision, timm or detectron2")
    command.add_argument("--out", metavar="FILE", help="[<encoder>-<NAME>.pth or .pkl beside the checkpoint]")
    command.set_defaults(run=run_export)


def run_export(options):
    from .export import export

    path, how = export(options.run_place, options.to, options.out)
    print(f"{path}\n{how}")


def add_detect(commands):
    about = ("Fine-tune torchvision's Mask R-CNN with FPN from a run's ResNet-18 or ResNet-50 on COCO-format data "
             "(annotations/instances_train*.json and the folder train*; the same of val) and print average precision "
             "of boxes and masks beside Table 5. The same command again resumes. Needs pycocotools. One process; "
             "batch norm is trained over its batch.")  # fmt: skip
    command = commands.add_parser("detect", help="transfer to detection (Table 5)", description=about)
    command.add_argument("run_place", metavar="RUN", help=ABOUT_RUN)
    command.add_argument("--data", required=True, metavar="PATH", help="folder of COCO's layout")
    command.add_argument("--out", metavar="DIR", help="detector.pt and detection.json go there [RUN/detection]")
    command.add_argument("--iterations", type=positive, default=90_000, metavar="N", help="[90000]")
    command.add_argument("--batch-size", type=positive, default=16, metavar="N", help="images an iteration [16]")
    command.add_argument("--lr", type=float, metavar="X", help="peak [0.02 x batch/16]")
    command.add_argument("--warmup", type=int, default=1000, metavar="N", help="iterations [1000]")
    command.add_argument("--sizes", type=sizes, default=(640, 672, 704, 736, 768, 800), metavar="N-N",
                         help="shorter sides in training; the last one tests [640-672-704-736-768-800]")  # fmt: skip
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, .. [auto]")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of heads, batches and sizes [0]")
    command.set_defaults(run=run_detect)


def sizes(text):
    return tuple(positive(part) for part in text.split("-"))


def run_detect(options):
    from .detect import Recipe, detect, table

    lr = 0.02 * options.batch_size / 16 if options.lr is None else options.lr
    recipe = Recipe(options.iterations, options.batch_size, lr, options.warmup, options.sizes, seed=options.seed)
    result = detect(options.run_place, options.data, options.out, recipe, options.device)
    print(f"{table(result)}\n{result['file']}")


def add_plot(commands):
    about = ("Draw the curves of runs in one figure (loss, kNN, effective rank, std, cosines), and write report.html "
             "into each: one file with curves, gallery, results and settings, complete in itself.")  # fmt: skip
    command = commands.add_parser("plot", help="curves of runs, and an HTML report of each", description=about)
    command.add_argument("run_places", nargs="+", metavar="RUN", help="folder of a run")
    command.add_argument("--out", default="plot.png", metavar="FILE", help="png, pdf or svg [plot.png]")
    command.set_defaults(run=run_plot)


def run_plot(options):
    from .folder import read_record
    from .html_report import write_report
    from .report import plot, subtitle

    records = [read_record(place) for place in dict.fromkeys(options.run_places)]
    names = [record.folder.resolve().name for record in records]
    if len(set(names)) < len(names):
        names = [str(record.folder) for record in records]
    lines = [f"{name}: {r.config.variant}, {subtitle(r.config, r.about)}" for name, r in zip(names, records)]
    plot({name: r.rows for name, r in zip(names, records)}, options.out, "\n".join(lines))
    print("\n".join([options.out, *(str(write_report(record.folder)) for record in records)]))
