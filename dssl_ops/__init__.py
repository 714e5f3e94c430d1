"""Primitives for Directional Self-Supervised Learning: fused losses and batched heavy augmentations."""

from .directional_loss import directional_loss, directional_loss_reference
from .graph import ViewGraph

__all__ = ["ViewGraph", "directional_loss", "directional_loss_reference"]
