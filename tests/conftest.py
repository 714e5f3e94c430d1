"""Fixtures that every test may ask for."""

import os
import warnings

import numpy as np
import pytest
import torch

from dssl_ops._library import backend, native

# torch keeps traced backward passes on disk, and would call our ops by the schema of an earlier version.
os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"
# torch looks for it at the first product on a GPU; deterministic runs need it.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(scope="session", autouse=True)
def gpu_has_been_used():
    """What torch itself may have to say at its first use of a GPU is no failure of the first test."""
    if torch.cuda.is_available():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = torch.ones(2, 2, device="cuda", requires_grad=True)
            (x @ x).sum().backward()


@pytest.fixture(autouse=True)
def gpu_runs_our_kernels(request):
    """They are loaded for a test that calls torch.ops.dssl_ops itself; and one that fell back on the references would
    compare them with themselves."""
    if request.node.get_closest_marker("cuda") and torch.cuda.is_available():
        assert native(torch.device("cuda")), backend()


@pytest.fixture
def threads():
    """Calls f under 1, 2 and 3 threads and gives the list of results; the thread count is restored."""
    before = torch.get_num_threads()

    def under_each(f):
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(f())
        return results

    yield under_each
    torch.set_num_threads(before)


@pytest.fixture
def poisoned_memory():
    """Fresh memory is NaN (or the largest integer), also inside C++: what a kernel forgets to write shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
