"""lightly's losses by its names and signatures (those of lightly 1.6), computed by this library's kernels.

    from dssl_ops.adapters.lightly import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss

Values and gradients equal lightly's, but for rounding and for what each class says. Half types give a float32 loss.
lightly itself is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..barlow_twins import barlow_twins
from ..directional_loss import directional_loss
from ..global_negatives import gather_rows
from ..graph import ViewGraph
from ..key_queue import KeyQueue
from ..nt_xent import info_nce, nt_xent

__all__ = ["BarlowTwinsLoss", "NTXentLoss", "NegativeCosineSimilarity"]

_TOWARDS = ViewGraph(((0, 0, 1.0),))
_BOTH_WAYS = ViewGraph(((0, 1, 1.0), (1, 0, 1.0)))
_EPS = 1e-8  # torch.nn.CosineSimilarity's


class NTXentLoss(nn.Module):
    """NT-Xent of SimCLR, or with a memory bank the InfoNCE of MoCo: `loss = criterion(out0, out1)`, both (N, D).

    Args:
        temperature: at least 1e-8.
        memory_bank_size: 0, or (size, D) for the last `size` keys as the negatives; out1 is put there by every call
            whose out0 requires a gradient, after the loss has seen the bank. As in lightly the rows that a batch has
            beyond the bank's end are dropped, and the bank is not part of the state_dict.
        gather_distributed: the rows of all ranks are negatives, or are put in the bank; every rank must have as many.

    Raises ValueError for other arguments. lightly takes negative temperatures; this does not.
    """

    def __init__(
        self,
        temperature: float = 0.5,
        memory_bank_size: int | Sequence[int] = 0,
        gather_distributed: bool = False,
    ):
        super().__init__()
        if not temperature >= 1e-8:
            raise ValueError(f"NTXentLoss: temperature must be at least 1e-8; got {temperature!r}")
        _check_distributed("NTXentLoss", gather_distributed)
        self.temperature, self.gather_distributed = temperature, gather_distributed
        self.memory_bank = _memory_bank(memory_bank_size)

    def forward(self, out0: Tensor, out1: Tensor) -> Tensor:
        group = _group(self.gather_distributed)
        if self.memory_bank is not None:
            loss = info_nce(out0, out1, self.memory_bank.keys.to(out1, copy=True), self.temperature)
            if out0.requires_grad:
                self._remember(self.memory_bank, out1.detach(), group)
            return loss
        if group is None:
            return nt_xent(out0, out1, self.temperature)
        # lightly's value is the mean over this rank's rows, its gradient that of the sum of all ranks' means.
        mean = nt_xent(out0, out1, self.temperature, group, "none").mean()
        return _with_value(mean / dist.get_world_size(group), mean)

    @staticmethod
    @torch.no_grad()
    def _remember(bank: KeyQueue, keys: Tensor, group: dist.ProcessGroup | None) -> None:
        keys = nn.functional.normalize(keys, dim=1)
        if group is not None:
            keys = gather_rows(keys, group)[0]
        bank.enqueue(keys[: bank.keys.shape[0] - int(bank.pointer)])

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"


class NegativeCosineSimilarity(nn.Module):
    """The mean of -cos(x0, x1) along dim, for SimSiam and BYOL: `loss = criterion(p0, z1.detach())`.

    Both inputs get their gradient where they require one. eps: a row counts as at least this long; above the default of
    1e-8 that is left to torch's own cosine_similarity, up to it a row is taken at its length, and a
    zero row has cosine and gradient 0.
    """

    def __init__(self, dim: int = 1, eps: float = _EPS):
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        if self.eps > _EPS:
            return -nn.functional.cosine_similarity(x0, x1, self.dim, self.eps).mean()
        x0, x1 = torch.broadcast_tensors(x0, x1)
        x0, x1 = (torch.atleast_2d(x.movedim(self.dim, -1)).flatten(0, -2) for x in (x0, x1))
        if not x1.requires_grad:
            return directional_loss([x0], [x1], _TOWARDS)
        both = directional_loss([x0, x1], [x0, x1], _BOTH_WAYS)
        return _with_value(both, both / 2)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}"


class BarlowTwinsLoss(nn.Module):
    """Barlow Twins: `loss = criterion(z_a, z_b)`, both (N, D).

    gather_distributed: mean, variance and correlation are those of all ranks' rows, as if one process had them all (the
    paper's code with synchronised batch norm). lightly shares the correlation only: there each rank standardises its
    own rows, so with several ranks its value is another.
    """

    def __init__(self, lambda_param: float = 5e-3, gather_distributed: bool = False):
        super().__init__()
        _check_distributed("BarlowTwinsLoss", gather_distributed)
        self.lambda_param, self.gather_distributed = lambda_param, gather_distributed

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        return barlow_twins(z_a, z_b, self.lambda_param, group=_group(self.gather_distributed))

    def extra_repr(self) -> str:
        return f"lambda_param={self.lambda_param}, gather_distributed={self.gather_distributed}"


def _memory_bank(size: int | Sequence[int]) -> KeyQueue | None:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    if not (sizes == (0,) or (len(sizes) == 2 and min(sizes) >= 0)):
        raise ValueError(f"NTXentLoss: memory_bank_size must be 0 or (size, width of the rows); got {size!r}")
    return KeyQueue(*sizes, dtype=torch.float32, persistent=False) if sizes[0] else None


def _check_distributed(op: str, gather: bool) -> None:
    if gather and not dist.is_available():
        raise ValueError(f"{op}: gather_distributed needs a torch with distributed support; got one without")


def _group(gather: bool) -> dist.ProcessGroup | None:
    several = gather and dist.is_initialized() and dist.get_world_size() > 1
    return dist.group.WORLD if several else None


def _with_value(loss: Tensor, value: Tensor) -> Tensor:
    """A scalar with the value of the one and the gradient of the other."""
    return loss + (value - loss).detach()
