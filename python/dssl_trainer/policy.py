"""Heavy policies as typed on the command line."""

import re

from dssl_ops.transforms import Compose, Jigsaw, RandAugment

from .config import TrainerError


def heavy_policy(config):
    parts = [one(text.strip(), config.op_set) for text in config.heavy.split("+") if text.strip()]
    return Compose(parts)


def one(text, op_set):
    if m := re.fullmatch(r"RA\((\d+),\s*([\d.]+)\)", text):
        return RandAugment(int(m[1]), float(m[2]), op_set=op_set)
    if m := re.fullmatch(r"Jigsaw\((\d+)(?:,\s*([\d.]+))?\)", text):
        return Jigsaw(int(m[1]), p=float(m[2] or 1))
    raise TrainerError(f"heavy: cannot read {text!r}")
