"""Is the encoder collapsing? Measured on backbone features in evaluation mode.

Never on the projector's output: behind its batch norm even constant features look healthy.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn


def feature_std(features):
    """sqrt(d) times the mean over channels of the std of l2-normalised features (N, d).

    0: collapsed; about 1: isotropic. Backbone features follow a ReLU and are not centred: healthy ones
    lie at about 0.4 to 0.9."""
    unit = F.normalize(features.double(), dim=1)
    return (unit.std(dim=0, correction=0).mean() * features.shape[1] ** 0.5).item()


def rankme(features):
    """exp(entropy of the singular values' shares) of centred features (N, d) (Garrido et al. 2023)."""
    features = features.double()
    spectrum = torch.linalg.svdvals(features - features.mean(dim=0))
    if spectrum[0] <= 1e-12 * features.norm():  # constant features: what is left is rounding
        return 1.0
    share = spectrum / spectrum.sum()
    return torch.special.entr(share).sum().exp().item()


def collapse_evidence(std, rank, width, knn, random_knn):
    """What speaks for collapse, in words, or None: spread, effective rank, kNN against random."""
    if std < 0.1:
        return f"std of l2-normalised features {std:.3f} < 0.1"
    if rank < max(2, 0.02 * width):
        return f"effective rank {rank:.1f} < {max(2, 0.02 * width):.1f}"
    if knn < random_knn - 5:
        return f"kNN {knn:.1f} % is 5 points below random initialisation ({random_knn:.1f} %)"
    return None


def with_data_statistics(encoder, batches):
    """A copy of `encoder` with batch-norm statistics of `batches`: the fair untrained reference."""
    encoder = without_synchronisation(copy.deepcopy(encoder)).train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # plain average over the batches
    with torch.no_grad():
        for batch in batches:
            encoder(batch)
    return encoder.eval()


def without_synchronisation(module):
    """Its SyncBatchNorms as plain ones: one process alone in training mode would wait for the others for ever."""
    for name, child in module.named_children():
        if isinstance(child, nn.SyncBatchNorm):
            plain = nn.BatchNorm2d(child.num_features, child.eps, child.momentum).to(child.weight.device)
            plain.load_state_dict(child.state_dict())
            setattr(module, name, plain)
        else:
            without_synchronisation(child)
    return module
