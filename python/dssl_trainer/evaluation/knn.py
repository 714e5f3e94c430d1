"""Weighted kNN classification of frozen features (Wu et al. 2018): k 200, T 0.1 as in the authors' code."""

import torch
import torch.nn.functional as F

CHUNK = 256  # queries at a time: 256 x 50,000 similarities are 51 MB


def knn_predict(bank, bank_labels, queries, classes, k=200, temperature=0.1):
    """Labels, int64 (Q,), of queries (Q, d): each neighbour votes for its class with weight exp(cosine / T).

    bank: (N, d) features with labels (N,); where the bank holds fewer than k features, all of them vote."""
    bank = F.normalize(bank.float(), dim=1)
    labels = [vote(q, bank, bank_labels, classes, min(k, len(bank)), temperature) for q in queries.split(CHUNK)]
    return torch.cat(labels)


def vote(queries, bank, bank_labels, classes, k, temperature):
    similarity, neighbour = (F.normalize(queries.float(), dim=1) @ bank.T).topk(k, dim=1)
    votes = torch.zeros(len(queries), classes, device=bank.device)
    weight = ((similarity - similarity[:, :1]) / temperature).exp()  # relative to the nearest: no overflow
    votes.scatter_add_(1, bank_labels[neighbour], weight)
    return votes.argmax(dim=1)


def knn_accuracy(bank, bank_labels, queries, query_labels, classes, k=200, temperature=0.1):
    """Percent of all queries that get their own label."""
    predicted = knn_predict(bank, bank_labels, queries, classes, k, temperature)
    return 100 * (predicted == query_labels).sum().item() / len(query_labels)
