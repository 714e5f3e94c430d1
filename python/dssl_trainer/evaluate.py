"""What the frozen backbone knows: kNN on the whole test set, spread and effective rank of its features."""

import numpy as np
import torch

from .config import TrainerError
from .device import autocast, to_device
from .diagnostics import feature_std, rankme, with_data_statistics
from .knn import knn_accuracy
from .views import normalized

BATCH = 512


def features(encoder, pixels, config):
    """(N, d) float32 features of unaugmented images in evaluation mode; restores the encoder's mode."""
    training = encoder.training
    encoder.eval()
    with torch.inference_mode(), autocast(config):
        parts = [encoder(to_device(normalized(chunk), config)).float() for chunk in pixels.split(BATCH)]
    encoder.train(training)
    return torch.cat(parts)


def evaluate(encoder, dataset, config):
    """{'knn': percent, 'rankme': effective rank, 'std': spread}, the latter two of the test features."""
    bank, queries = (features(encoder, part.pixels, config) for part in (dataset.train, dataset.test))
    if not (bank.isfinite().all() and queries.isfinite().all()):
        raise TrainerError("the encoder's features are not finite; a lower --lr may help")
    labels = [part.labels.to(bank.device) for part in (dataset.train, dataset.test)]
    knn = knn_accuracy(bank, labels[0], queries, labels[1], len(dataset.classes), config.knn_k, config.knn_temperature)
    return {"knn": knn, "rankme": rankme(queries), "std": feature_std(queries)}


def evaluate_untrained(encoder, dataset, config):
    """The line to beat: the initial encoder, its batch-norm statistics taken from training images."""
    count = len(dataset.train)
    size = min(BATCH, count)
    order = np.random.default_rng(0).permutation(count)  # files come sorted by class: mix them
    chunks = torch.from_numpy(order[: min(count // size, 10) * size]).split(size)
    batches = (to_device(normalized(dataset.train.pixels[chunk]), config) for chunk in chunks)
    return evaluate(with_data_statistics(encoder, batches), dataset, config)
