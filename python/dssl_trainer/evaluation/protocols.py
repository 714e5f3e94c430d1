"""`dssl evaluate`: what a run's encoder is worth by each protocol, kept as evaluation-<protocol>.json beside it."""

import dataclasses
import json

import torch

from .. import log
from ..atomic import replacing
from ..data import load
from ..device import deterministic, memory_format, threads
from ..encoders import new_encoder
from ..errors import TrainerError
from ..record import commit, installed_version, subtitle
from ..trained import open_run
from . import linear
from .fast_linear import fast_linear
from .features import evaluate, features


def evaluate_run(place, protocols=("knn", "fast"), data=None, device="auto", epochs=None, seed=None):
    """[result] of every protocol in turn; each is written as soon as it is there.

    epochs: of the classifier's training instead of the protocol's own. seed: of its start and order [the run's]."""
    if strange := [name for name in protocols if name not in PROTOCOLS]:
        raise TrainerError(f"--protocol: expected some of {', '.join(PROTOCOLS)}; got {strange[0]!r}")
    run = open_run(place, device, data)
    dataset, seed = load(run.config), run.config.seed if seed is None else seed
    seeded = run._replace(config=dataclasses.replace(run.config, seed=seed))
    found = []
    with threads(run.config.threads), deterministic(run.config):
        for name in protocols:
            result = {"protocol": name, **PROTOCOLS[name](seeded, dataset, epochs), "classifier_seed": seed}
            result |= circumstances(run, dataset)
            result["file"] = str(write(result, name, run))
            found.append(result)
    return found


def knn(run, dataset, _):
    found = evaluate(run.encoder, dataset, run.config)
    limit = run.config.knn_limit
    bank = f", bank of {limit:,} training images" if 0 < limit < len(dataset.train) else ""
    about = f"kNN, k {run.config.knn_k}, T {run.config.knn_temperature:g}, backbone features{bank}"
    result = {"about": about, "top1": found.pop("knn"), "about_top1": "this checkpoint, all test images", **found}
    rows = [row for row in logged(run) if "knn" in row and row["step"] > 0]
    if rows:
        best = max(rows, key=lambda row: row["knn"])
        why = "best measured epoch of the run, chosen on the test set: the authors' protocol"
        result["authors_best_on_test"] = {"top1": best["knn"], "epoch": best["epoch"], "about": why}
    return result


def logged(run):
    path = run.path.parent / "log.csv"
    return log.read(path) if path.exists() else []


def linear_protocol(run, dataset, epochs):
    return trained(run.encoder, dataset, run.config, linear.LINEAR[run.config.dataset], epochs, frozen=True)


def supervised(run, dataset, epochs):
    """The same architecture with labels from the start; the run's weights play no part."""
    with torch.random.fork_rng():
        torch.manual_seed(run.config.seed)
        encoder = new_encoder(run.config)
    encoder = encoder.to(run.config.device, memory_format=memory_format(run.config))
    return trained(encoder, dataset, run.config, linear.supervised_protocol(run.config), epochs, frozen=False)


def trained(encoder, dataset, config, protocol, epochs, frozen):
    chosen = dataclasses.replace(protocol, epochs=epochs or protocol.epochs)
    curve = linear.train_classifier(encoder, dataset, config, chosen, frozen)
    other = f"; {chosen.epochs} epochs instead of its {protocol.epochs}" if chosen != protocol else ""
    return {"about": protocol.about + other, "classifier_epochs": chosen.epochs, "own_epochs": protocol.epochs,
            **curve.summary(), "curve": curve.all}  # fmt: skip


def fast(run, dataset, _):
    config = run.config
    bank, queries = (features(run.encoder, part, config) for part in (dataset.train, dataset.test))
    labels = [part.labels.to(bank.device) for part in (dataset.train, dataset.test)]
    if not (bank.isfinite().all() and queries.isfinite().all()):
        raise TrainerError(f"the features of {run.path} are not finite")
    top1, decay = fast_linear(bank, labels[0], queries, labels[1], len(dataset.classes))
    about = "logistic regression by L-BFGS on cached features of unaugmented images"
    return {"about": about, "top1": top1, "about_top1": "all test images; nothing chosen on them", "decay": decay}


PROTOCOLS = {"knn": knn, "linear": linear_protocol, "fast": fast, "supervised": supervised}


def circumstances(run, dataset):
    """Without these no number may stand."""
    config = run.config
    steps = len(dataset.train) // config.batch_size
    return {
        "run": subtitle(config, dataset.about), "checkpoint": run.path.name, "step": run.step,
        "epochs": round(run.step / max(steps, 1), 4), "seed": config.seed, "scale": config.scale,
        "encoder": config.encoder, "test_images": len(dataset.test), "commit": commit(),
        "dssl_ops": installed_version(),
    }  # fmt: skip


def write(result, name, run):
    kept = run.path.stem.removeprefix("checkpoint")  # -epoch100, or nothing
    path = run.path.parent / f"evaluation-{name}{kept}.json"
    with replacing(path, "w") as file:
        file.write(json.dumps(result, indent=2) + "\n")
    return path


def describe(result):
    """A line or two for the terminal."""
    lines = [f"{result['protocol']:11}{result['top1']:6.2f} %  {result['about']}; {result['about_top1']}"]
    if theirs := result.get("authors_best_on_test"):
        lines.append(f"{'':11}{theirs['top1']:6.2f} %  epoch {theirs['epoch']:g}: {theirs['about']}")
    return "\n".join(lines)
