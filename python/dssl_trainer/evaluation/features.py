"""What the frozen backbone knows: kNN on the whole test set, spread and effective rank of its features."""

import numpy as np
import torch

from ..data.dataset import subset
from ..data.views import normalized
from ..device import autocast, to_device
from ..errors import TrainerError
from .collapse import feature_std, rankme, with_data_statistics
from .knn import knn_accuracy

BATCH = 512


def features(encoder, images, config, ids=None):
    """(N, d) float32 features of unaugmented Images, or of those with the given ids, in evaluation mode; restores
    the encoder's mode."""
    training = encoder.training
    encoder.eval()
    ids = torch.arange(len(images)) if ids is None else ids
    with torch.inference_mode(), autocast(config):
        batches = (images.plain(part) for part in ids.split(BATCH))
        parts = [encoder(normalized(to_device(batch, config), config)).float() for batch in batches]
    encoder.train(training)
    return torch.cat(parts)


def evaluate(encoder, dataset, config):
    """{'knn': percent, 'rankme': effective rank, 'std': spread}, the latter two of the test features."""
    ids = torch.from_numpy(subset(len(dataset.train), config.knn_limit))
    bank, queries = features(encoder, dataset.train, config, ids), features(encoder, dataset.test, config)
    if not (bank.isfinite().all() and queries.isfinite().all()):
        raise TrainerError("the encoder's features are not finite; a lower --lr may help")
    labels = [labels.to(bank.device) for labels in (dataset.train.labels[ids], dataset.test.labels)]
    knn = knn_accuracy(bank, labels[0], queries, labels[1], len(dataset.classes), config.knn_k, config.knn_temperature)
    return {"knn": knn, "rankme": rankme(queries), "std": feature_std(queries)}


def evaluate_untrained(encoder, dataset, config):
    """The line to beat: the initial encoder, its batch-norm statistics taken from training images."""
    count = len(dataset.train)
    size = min(BATCH, count)
    order = np.random.default_rng(0).permutation(count)  # files come sorted by class: mix them
    chunks = torch.from_numpy(order[: min(count // size, 10) * size]).split(size)
    batches = (normalized(to_device(dataset.train.plain(chunk), config), config) for chunk in chunks)
    return evaluate(with_data_statistics(encoder, batches), dataset, config)
