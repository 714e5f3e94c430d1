"""What a row of the log tells of its step beside the loss."""

import torch
import torch.nn.functional as F

from .variants import has_heavy_copies, heavy_views

PAIRS = ((0, 1), (2, 3))


class Meter:
    """Wall time of the steps since the last row of the log, and the part of it that they waited for their views."""

    def __init__(self):
        self.images, self.seconds, self.data_seconds = 0, 0.0, 0.0

    @property
    def images_per_second(self):
        return self.images / max(self.seconds, 1e-9)

    @property
    def data_share(self):
        return self.data_seconds / max(self.seconds, 1e-9)


def cosines(z, config):
    """Mean cosine of projections of two views of an image: sv_sv of standard, hv_hv of heavy views, sv_hv between.

    Heavy copies meet the view that they were made from. sv_hv rising to sv_sv: the heavy views are absorbed."""
    pairs = [*PAIRS, *(((0, 2), (1, 3)) if has_heavy_copies(config) else ())]
    found: dict[str, list[float]] = {}
    for i, j in pairs:
        if j < len(z) and z[i] is not None and z[j] is not None:
            name = ("sv_sv", "sv_hv", "hv_hv")[sum(view in heavy_views(config) for view in (i, j))]
            found.setdefault(name, []).append(
                F.cosine_similarity(z[i].detach().float(), z[j].detach().float()).mean().item()
            )
    return {name: sum(values) / len(values) for name, values in found.items()}


def constant_share(views, config):
    """Share of the heavy views, of all views where none is heavy, that hold one colour only."""
    chosen = [views[k] for k in heavy_views(config) or range(len(views))]
    constant = [(view.amax((2, 3)) == view.amin((2, 3))).all(1) for view in chosen]
    return torch.cat(constant).float().mean().item()


def of_step(batch, outcome, learner):
    """Columns of the log for the step that just ended."""
    parts = {f"loss_{name}": value.item() for name, value in outcome.result.parts.items()}
    found = {"grad_norm": learner.gradient_norm(), "constant": constant_share(batch.views, learner.config)}
    return parts | cosines(outcome.result.z, learner.config) | found
