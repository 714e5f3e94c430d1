"""`dssl detect`."""

from .run_options import ABOUT_RUN, positive


def add(commands):
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
    command.set_defaults(run=run)


def sizes(text):
    return tuple(positive(part) for part in text.split("-"))


def run(options):
    from ..evaluation.detect import Recipe, detect, table

    lr = 0.02 * options.batch_size / 16 if options.lr is None else options.lr
    recipe = Recipe(options.iterations, options.batch_size, lr, options.warmup, options.sizes, seed=options.seed)
    result = detect(options.run_place, options.data, options.out, recipe, options.device)
    print(f"{table(result)}\n{result['file']}")
