"""Forward and backward of a step as one CUDA graph: all their kernels start with one call."""

import torch

from .errors import TrainerError, one_line

WARM_UP = 3  # steps: libraries make their workspaces, and layouts settle


class GraphedPasses:
    """Calls like `passes(views, severity)`, which gives a Result and leaves gradients where there were none.

    The first steps run as they are, on the stream that is captured on then; from the next on what was captured runs on
    new views: the same kernels in the same order. What it gives is overwritten by the next step."""

    def __init__(self, passes, parameters):
        self.passes, self.parameters = passes, list(parameters)
        self.device = self.parameters[0].device
        self.stream, self.steps = torch.cuda.Stream(self.device), 0
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, views, severity):
        self.steps += 1
        if self.steps <= WARM_UP:
            return self.run_beside(views, severity)
        graph = self.graph or self.capture(views, severity)
        for held, given in zip(self.held, tensors(views, severity), strict=True):
            held.copy_(given)
        graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.result

    def run_beside(self, views, severity):
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            result = self.passes(views, severity)
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return result

    def capture(self, views, severity):
        """Other threads may go on, such as the one that makes views ahead."""
        self.held = [tensor.clone() for tensor in tensors(views, severity)]
        graph, count = torch.cuda.CUDAGraph(), len(views)
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.result = self.passes(self.held[:count], self.held[count] if self.held[count:] else None)
        except RuntimeError as error:
            raise TrainerError(f"cuda_graph: this step cannot be captured, leave it out: {one_line(error)}") from None
        self.gradients = [parameter.grad for parameter in self.parameters]
        self.graph = graph
        return graph


def tensors(views, severity):
    return [*views, *([] if severity is None else [severity])]
