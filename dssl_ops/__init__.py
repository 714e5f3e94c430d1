"""Primitives for Directional Self-Supervised Learning: fused losses and batched heavy augmentations."""

from . import transforms
from .augment import augment, augment_reference, image_op
from .barlow_twins import barlow_twins, barlow_twins_reference
from .directional_loss import directional_loss, directional_loss_reference
from .graph import ViewGraph
from .image_files import ImageFiles
from .images import RaggedImages
from .jigsaw import jigsaw, jigsaw_reference
from .key_queue import KeyQueue
from .nt_xent import ContrastiveResult, info_nce, nt_xent, nt_xent_reference
from .program import Program

__all__ = [
    "ContrastiveResult",
    "ImageFiles",
    "KeyQueue",
    "Program",
    "RaggedImages",
    "ViewGraph",
    "augment",
    "augment_reference",
    "barlow_twins",
    "barlow_twins_reference",
    "directional_loss",
    "directional_loss_reference",
    "image_op",
    "info_nce",
    "jigsaw",
    "jigsaw_reference",
    "nt_xent",
    "nt_xent_reference",
    "transforms",
]
