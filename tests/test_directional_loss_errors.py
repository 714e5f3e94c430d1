"""directional_loss: what it refuses, and in which words."""

import pytest
import torch
from checks import needs_native

from dssl_ops import ViewGraph, directional_loss


def view(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype)


FITTING = ([view(7, 33)] * 4, [view(7, 33)] * 2)


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (([view(7, 33)] * 4, [view(3, 33)] * 2), ValueError, r"must share shape.*\(7, 33\).*\(3, 33\)"),
        (([view(7, 33)] * 4, [view(7, 33, dtype=torch.float64)] * 2), ValueError, "must share.*float32.*float64"),
        (([view(7, 33, dtype=torch.int64)] * 4, [view(7, 33)] * 2), ValueError, "float32, float64.*got.*int64"),
        (([view(7)] * 4, [view(7)] * 2), ValueError, r"must be \(B, D\).*got \(7,\)"),
        ((view(7, 33), [view(7, 33)] * 2), ValueError, r"stacked predictions must be \(V, B, D\); got \(7, 33\)"),
        (([view(7, 33)] * 3, [view(7, 33)] * 2), ValueError, "needs 4 predictions; got 3"),
        (([view(7, 33)] * 4, [view(7, 33)]), ValueError, "needs 2 targets; got 1"),
        (([1.0] * 4, [view(7, 33)] * 2), TypeError, "predictions must be dense tensors; got float"),
        ((None, None), TypeError, "predictions must be a tensor or a list of them; got NoneType"),
        (([view(7, 33).to_sparse()] * 4, [view(7, 33)] * 2), TypeError, "dense tensors; got torch.sparse_coo"),
        ((*FITTING, ViewGraph.dssl(), [1.0] * 4), TypeError, "weights must be a tensor or None; got list"),
        (([view(7, 33)] * 4, [view(7, 33)] * 2, "dssl"), TypeError, "graph must be a ViewGraph; got str"),
        ((*FITTING, ViewGraph.dssl(), view(3)), ValueError, r"weights must be.*\(4,\) or \(4, 7\).*got \(3,\)"),
        ((*FITTING, ViewGraph.dssl(), view(4).requires_grad_()), ValueError, "weights get no gradient"),
        ((*FITTING, ViewGraph.dssl(), None, "avg"), ValueError, "reduction must be.*got 'avg'"),
        (([view(7, 33).to("meta")] * 4, [view(7, 33)] * 2), ValueError, "must share.*meta.*cpu"),
    ],
)  # fmt: skip
def test_bad_input_gives_one_clear_error(arguments, error, message):
    with pytest.raises(error, match="directional_loss: .*" + message):
        directional_loss(*arguments)


@needs_native
@pytest.mark.parametrize(
    "change",
    [
        {"edges": [0, 1, 1, 0, 2, 0, 4, 1]},
        {"edges": [0, 1, 1, 0, 2, 0, 3, -1]},
        {"edge_weights": [0.5] * 3},
        {"targets": [torch.ones(5, 8)] * 2},
        {"targets": [torch.ones(6, 8, dtype=torch.float64)] * 2},
        {"predictions": [torch.ones(8, 6).t()] * 4},
        {"weights": torch.ones(4, 5, dtype=torch.float64)},
        {"weights": torch.ones(4)},
        {"reduction": 7},
    ],
)
def test_the_raw_op_refuses_what_would_corrupt_memory(change):
    arguments = {
        "predictions": [torch.ones(6, 8)] * 4, "targets": [torch.ones(6, 8)] * 2, "edges": [0, 1, 1, 0, 2, 0, 3, 1],
        "edge_weights": [0.5] * 4, "weights": None, "reduction": 2,
    }  # fmt: skip
    with pytest.raises(RuntimeError, match="directional_loss: "):
        torch.ops.dssl_ops.directional_loss(*(arguments | change).values())


@needs_native
@pytest.mark.parametrize(
    "change",
    [
        {"edges": [0, 1, 1, 0, 2, 0, 4, 1]},
        {"edges": [0, 1, 1]},
        {"targets": [torch.ones(5, 8)] * 2},
        {"coefficients": torch.ones(6, 13, dtype=torch.float64)},
        {"coefficients": torch.ones(5, 14, dtype=torch.float64)},
        {"coefficients": torch.ones(6, 14)},
        {"upstream": torch.ones(5, dtype=torch.float64)},
        {"upstream": torch.ones(6)},
        {"reduction": 7},
    ],
)
def test_the_raw_backward_op_refuses_what_would_corrupt_memory(change):
    arguments = {
        "predictions": [torch.ones(6, 8)] * 4, "targets": [torch.ones(6, 8)] * 2,
        "coefficients": torch.ones(6, 14, dtype=torch.float64), "upstream": torch.ones(6, dtype=torch.float64),
        "edges": [0, 1, 1, 0, 2, 0, 3, 1], "reduction": 2,
    }  # fmt: skip
    torch.ops.dssl_ops.directional_loss_backward(*arguments.values())
    with pytest.raises(RuntimeError, match="directional_loss"):
        torch.ops.dssl_ops.directional_loss_backward(*(arguments | change).values())
