"""`dssl evaluate`."""

from .run_options import ABOUT_RUN, positive


def add(commands):
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
    command.set_defaults(run=run)


def run(options):
    from ..evaluation.protocols import describe, evaluate_run

    chosen = dict.fromkeys(options.protocol)
    results = evaluate_run(options.run_place, tuple(chosen), options.data, options.device, options.epochs, options.seed)
    print(results[0]["run"])
    for result in results:
        print(f"{describe(result)}\n{'':11}{result['file']}")
