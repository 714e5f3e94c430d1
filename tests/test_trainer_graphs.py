"""What GraphedPasses hands to its graph and takes from it, with a stand-in for CUDA; a GPU's own: test_cuda_trainer."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from dssl_trainer import graphs
from torch import nn


class StandIn:
    """torch.cuda as far as graphs.py uses it. A replay computes what the captured passes did, into the same memory."""

    def __init__(self, passes, parameters):
        self.passes, self.parameters, self.streams, self.replays = passes, parameters, [], 0

    def Stream(self, device):
        return SimpleNamespace(wait_stream=lambda other: self.streams.append("beside waits"))

    def current_stream(self, device):
        return SimpleNamespace(wait_stream=lambda other: self.streams.append("main waits"))

    @contextlib.contextmanager
    def stream(self, beside):
        self.streams.append("beside")
        yield

    def CUDAGraph(self):
        return self

    @contextlib.contextmanager
    def graph(self, graph, stream, capture_error_mode):
        yield

    def capture_of(self, graphed):
        self.held, self.result = graphed.held, graphed.result
        self.memory = [p.grad for p in self.parameters]

    def replay(self):
        self.replays += 1
        for p in self.parameters:
            p.grad = None
        self.result.copy_(self.passes(self.held[:2], self.held[2] if self.held[2:] else None))
        for memory, p in zip(self.memory, self.parameters):
            memory.copy_(p.grad)
            p.grad = torch.full_like(p.grad, torch.nan)  # a replay writes to its own memory, and to no .grad


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@pytest.mark.parametrize("softens", [False, True])
def test_every_step_gives_the_gradients_of_its_own_views(model, softens, monkeypatch):
    parameters = list(model.parameters())

    def passes(views, severity):
        weight = 1 if severity is None else severity.mean()
        loss = weight * sum(model(view).square().mean() for view in views)
        loss.backward()
        return loss.detach()

    cuda = StandIn(passes, parameters)
    monkeypatch.setattr(graphs.torch, "cuda", cuda)
    graphed = graphs.GraphedPasses(passes, parameters)
    captured = graphed.capture

    def capture(*views):
        graph = captured(*views)
        cuda.capture_of(graphed)
        return graph

    graphed.capture = capture
    for step in range(6):
        views, severity = [torch.randn(4, 3) for _ in range(2)], torch.rand(2, 4) if softens else None
        model.zero_grad()
        want = passes(views, severity).clone(), [p.grad.clone() for p in parameters]
        model.zero_grad()
        got = graphed(views, severity)
        assert torch.equal(got, want[0])
        assert all(torch.equal(p.grad, gradient) for p, gradient in zip(parameters, want[1])), step
    assert cuda.replays == 6 - graphs.WARM_UP
    assert cuda.streams == ["beside waits", "beside", "main waits"] * graphs.WARM_UP
