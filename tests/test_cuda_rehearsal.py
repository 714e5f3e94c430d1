"""The tests for GPUs on the CPU, as far as they do not speak of CUDA: what never runs does not stay right."""

import inspect

import pytest
import test_cuda_augment
import test_cuda_jigsaw
import test_cuda_losses
import test_cuda_trainer
import torch
from checks import needs_native
from test_cuda_trainer import exact_products  # noqa: F401, a fixture

MODULES = (test_cuda_augment, test_cuda_jigsaw, test_cuda_losses, test_cuda_trainer)
pytestmark = needs_native


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "GPU", torch.device("cpu"))


for module in MODULES:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        takes_long = "large" in name or "tmp_path" in inspect.signature(function).parameters  # whole runs
        if name.startswith("test_") and "torch.cuda" not in inspect.getsource(function) and not takes_long:
            globals()[f"{module.__name__}_{name}"] = function
