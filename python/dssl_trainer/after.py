"""The commands of `dssl` for runs that are there: evaluate, export."""

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
