"""Run folders made by hand: what `dssl reproduce` reads, with numbers that a test knows."""

import json

from dssl_trainer import log
from dssl_trainer.config import as_dict
from dssl_trainer.device import chosen
from dssl_trainer.reproduce.cells import jobs

DATA = "image folders in data: 50,000 train and 10,000 test images, 32x32, 10 classes"
KINDS = {"knn": "kNN, k 200, T 0.1, backbone features", "fast": "logistic regression"}


def job_of(experiment, name, seed=0):
    return jobs(experiment, "small", (seed,), (name,))[0]


def write_run(place, job, curve, fast=50.0, alarm=None, folder=None, evaluated=True, **changes):
    """A run of `job` whose kNN at epochs 0, 2, 4, .. is `curve`; alarm: the epoch where it rises."""
    target = place / (folder or job.name)
    target.mkdir(parents=True)
    settings = as_dict(job.config) | {"data": "/data/cifar10", "out": str(target), "precision": "bf16"}
    settings |= {"device": chosen("auto")} | changes
    versions = {"torch": "2.11", "commit": "0123456789abcdef"}
    record = {"settings": settings, "origin": {}, "versions": versions, "data": DATA}
    (target / "config.json").write_text(json.dumps(record))
    for number, knn in enumerate(curve):
        row = {"epoch": 2 * number, "step": 780 * number, "knn": knn, "rankme": 70.5, "std": 0.8, "loss": -1.0,
               "alarm": int(2 * number == alarm), "seconds": 100 * number}  # fmt: skip
        log.append(target / "log.csv", row)
    for protocol, top1 in (("knn", curve[-1]), ("fast", fast)) if evaluated else ():
        found = {"protocol": protocol, "top1": top1, "about": KINDS[protocol], "step": 780 * (len(curve) - 1),
                 "checkpoint": "checkpoint.pt", "commit": "of the evaluation", "file": f"{target}/x.json"}  # fmt: skip
        (target / f"evaluation-{protocol}.json").write_text(json.dumps(found))
    return target
