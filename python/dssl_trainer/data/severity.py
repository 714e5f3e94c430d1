r"""How far a heavy view strays from the standard view that it continues, from its program alone: a number in [0, 1].

severity = 1 - prod over the heavy steps of (1 - s), and s of one step is

    tone      the mean of |change| / 255 over all 256 bytes, of Invert (1/2), Posterize, Solarize, SolarizeAdd and
              Brightness; Contrast and Color |factor - 1| / 4
    place     the part of the picture that leaves it: TranslateX, TranslateY |t| / side, Cutout its area / area,
              ResizedCrop what it cuts off, ShearX, ShearY |s| / 4, Rotate 0.28 |degrees| / 45 (the corners), at most 1
    JigSaw    half the share of tiles that moved: the content stays, its order goes
    other     AutoContrast, Equalize 0.1; Sharpness |factor - 1| / 20; Hue |shift|; GaussianBlur sigma / 10;
              Grayscale 0.1; Identity, HorizontalFlip 0

A view that a translation empties has severity 1: its term in the `soft` variant vanishes. The numbers are a heuristic
of ours; the paper's Sec. 5 only names the idea.
"""

import numpy as np
import torch

from dssl_ops.program import OPCODES

BYTES = np.arange(256.0)


def tone(changed):
    """Mean |change| / 255 of all bytes; `changed`: (N, 256), clipped here to what a byte holds."""
    return abs(np.clip(changed, 0, 255) - BYTES).mean(1) / 255


def solarized(values, threshold):
    return np.where(values < threshold, values, 255 - values)


def posterized(bits):
    step = 2.0 ** (8 - bits)
    return BYTES // step * step


def part(share):
    return np.minimum(abs(share), 1.0)


# name -> s of the step's values (N, P); the picture is height x width
STEPS = {
    "Invert": lambda v, h, w: np.full(len(v), 0.5),
    "AutoContrast": lambda v, h, w: np.full(len(v), 0.1),
    "Equalize": lambda v, h, w: np.full(len(v), 0.1),
    "Grayscale": lambda v, h, w: np.full(len(v), 0.1),
    "Posterize": lambda v, h, w: tone(posterized(v[:, :1])),
    "Solarize": lambda v, h, w: tone(solarized(BYTES, v[:, :1])),
    "SolarizeAdd": lambda v, h, w: tone(solarized(np.clip(BYTES + v[:, :1], 0, 255), 128)),
    "Brightness": lambda v, h, w: tone(BYTES * v[:, :1]),
    "Contrast": lambda v, h, w: part((v[:, 0] - 1) / 4),
    "Color": lambda v, h, w: part((v[:, 0] - 1) / 4),
    "Sharpness": lambda v, h, w: part((v[:, 0] - 1) / 20),
    "Hue": lambda v, h, w: part(v[:, 0]),
    "GaussianBlur": lambda v, h, w: part(v[:, 0] / 10),
    "Rotate": lambda v, h, w: part(0.28 * v[:, 0] / 45),
    "ShearX": lambda v, h, w: part(v[:, 0] / 4),
    "ShearY": lambda v, h, w: part(v[:, 0] / 4),
    "TranslateX": lambda v, h, w: part(v[:, 0] / w),
    "TranslateY": lambda v, h, w: part(v[:, 0] / h),
    "ResizedCrop": lambda v, h, w: part(1 - v[:, 2] * v[:, 3] / (h * w)),
    "Cutout": lambda v, h, w: part((v[:, 2] - v[:, 0] + 1) * (v[:, 3] - v[:, 1] + 1) / (h * w)),
    "Jigsaw": lambda v, h, w: (v != np.arange(v.shape[1])).mean(1) / 2,
}


def step_severity(program):
    """s of every step, (S,) float64."""
    opcodes, offsets, values = (t.numpy() for t in (program.opcodes, program.value_offsets, program.values))
    found = np.zeros(len(opcodes))
    for name, rule in STEPS.items():
        steps = np.flatnonzero(opcodes == OPCODES[name])
        counts = offsets[steps + 1] - offsets[steps]
        for count in np.unique(counts):  # JigSaw's grids may differ
            alike = steps[counts == count]
            rows = values[offsets[alike, None] + np.arange(count)]
            found[alike] = rule(rows, program.height, program.width)
    return found


def severity(program):
    """(2, B) float32 of v^ and v^' (views 2 and 3), each made by the steps since its v or v' was emitted."""
    opcodes, offsets = program.opcodes.numpy(), program.value_offsets.numpy()
    emits = np.flatnonzero(opcodes == OPCODES["Emit"])
    view = program.values.numpy()[offsets[emits]].astype(int)
    kept = np.multiply.reduceat(1 - step_severity(program), np.r_[0, emits[:-1] + 1])  # of each emitted view
    return torch.from_numpy(np.stack([1 - kept[view == k] for k in (2, 3)])).float()
