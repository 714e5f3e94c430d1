"""Table 5, transfer to detection: what each row needs, and what `dssl detect` has measured."""

import json

from ..evaluation.detect import COLUMNS
from ..experiments import TABLE5
from .cells import new_job

NEEDS = """\
Needs: COCO 2017 (annotations/instances_{train,val}2017.json, train2017, val2017), pycocotools, and an encoder
trained on ImageNet at full scale. Each row is 90,000 iterations of 16 images: Mask R-CNN with FPN, sides 640 to 800."""


def table(scale, kept):
    """The rows of Table 5: ours where RUN/detection/detection.json is there, else the command that makes it."""
    lines = [f"Table 5: transfer to COCO\n\n{NEEDS}\n"]
    if scale != "full":
        lines.append("At --scale small there is no counterpart: its encoder has no place in that detector.\n")
    lines.append(f"{'':34}" + "".join(f"{name:>11}" for name in COLUMNS))
    for row in TABLE5:
        lines += [
            f"{row.label + ', the paper':34}" + numbers(row.paper),
            f"{row.label + ', ours':34}" + ours(row, kept),
        ]
    return "\n".join(lines)


def numbers(values):
    return "".join(f"{value:11.1f}" for value in values)


def ours(row, kept):
    if row.start is None:
        return "  not run: this package trains no supervised ImageNet encoder"
    job = new_job(row.start, "full", 0, {})
    run = kept.get(job.key)
    path = run.folder / "detection" / "detection.json" if run else None
    if path and path.exists():
        found = json.loads(path.read_text())
        recipe = found["recipe"]
        about = f"  {recipe['iterations']:,} iterations of {recipe['batch_size']} images"
        return numbers([found[name] for name in COLUMNS]) + about
    start = f"{run.folder}, {'finished' if run.finished else 'not finished'}" if run else f"OUT/{job.name} (table2)"
    return f"  not run: dssl detect {start} --data COCO"
