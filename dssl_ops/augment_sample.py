"""Draw programs from a transform's instructions; a draw depends on (seed, sample id, epoch, view, step) alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ._library import native, when_loaded
from .program import AFFINE_OPS, OPCODES

# Instruction kinds. An instruction is [kind, length in words, view, step, parameters...].
FIXED, RANDOM_RESIZED_CROP, COLOR_JITTER, GAUSSIAN_BLUR, RANDOM_OPS, JIGSAW, CHOICE = range(7)
HEADER = 4
# Kinds of value of an entry of RANDOM_OPS.
PLAIN, TRUNCATED, CUTOUT, NO_VALUE, BITS = range(5)
ENTRY_WORDS = 6

_AFFINE_OPCODES = {OPCODES[name] for name in AFFINE_OPS}
_JITTER_OPCODES = [OPCODES[name] for name in ("Brightness", "Contrast", "Color", "Hue")]


def augment_sample(
    instructions: Tensor, sample_ids: Tensor, sizes: Tensor, seed: int, epoch: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw one program per sample id: (opcodes, step_offsets, values, value_offsets) of `Program`.

    instructions: float64 words from `Transform.instructions`; sample_ids int64 (B,); sizes int64 (B, 2), (H, W) of each
    source; seed a 64-bit integer, signed or unsigned; epoch 0..2^32-1. Draws are Philox4x32-10 (Salmon et al., SC
    2011), key = seed, counter = (id low, id high, epoch, view << 24 | step << 12 | block).
    """
    if native():
        return torch.ops.dssl_ops.augment_sample.default(instructions, sample_ids, sizes, signed(seed), epoch)
    return augment_sample_reference(instructions, sample_ids, sizes, seed, epoch)


@when_loaded
def _register_fake() -> None:
    @torch.library.register_fake("dssl_ops::augment_sample")
    def _(instructions: Tensor, sample_ids: Tensor, sizes: Tensor, seed: int, epoch: int) -> tuple[Tensor, ...]:
        context = torch.library.get_ctx()
        steps, values = context.new_dynamic_size(), context.new_dynamic_size()
        opcodes = sample_ids.new_empty(steps, dtype=torch.int32)
        step_offsets, value_offsets = (sample_ids.new_empty(count + 1) for count in (len(sample_ids), steps))
        return opcodes, step_offsets, instructions.new_empty(values), value_offsets


def signed(seed: int) -> int:
    """The 64 bits of the seed as the int64 that an op takes."""
    return (seed + 2**63) % 2**64 - 2**63


def augment_sample_reference(
    instructions: Tensor, sample_ids: Tensor, sizes: Tensor, seed: int, epoch: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`augment_sample` in plain Python, the same bits; Python floats are the doubles of the compiled one."""
    words = instructions.tolist()
    opcodes: list[int] = []
    values: list[float] = []
    step_offsets, value_offsets = [0], [0]
    for sample_id, (height, width) in zip(sample_ids.tolist(), sizes.tolist()):
        for opcode, step_values in _Sampler(seed, sample_id, epoch, height, width).run(words, 0, len(words)):
            opcodes.append(opcode)
            values.extend(map(float, step_values))
            value_offsets.append(len(values))
        step_offsets.append(len(opcodes))
    return (
        torch.tensor(opcodes, dtype=torch.int32, device="cpu"),
        torch.tensor(step_offsets, dtype=torch.int64, device="cpu"),
        torch.tensor(values, dtype=torch.float64, device="cpu"),
        torch.tensor(value_offsets, dtype=torch.int64, device="cpu"),
    )


def philox(counter: Sequence[int], key: Sequence[int]) -> tuple[int, int, int, int]:
    """Philox4x32-10: four counter words and two key words in, four random 32-bit words out."""
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        even, odd = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (odd >> 32) ^ b ^ low, odd & 0xFFFFFFFF, (even >> 32) ^ d ^ high, even & 0xFFFFFFFF
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


def uniform(word: int) -> float:
    """Uniform in [0, 1) with 24 bits."""
    return (word >> 8) * 2.0**-24


def below(word: int, n: int) -> int:
    """Uniform integer in [0, n); its bias is below n / 2^32."""
    return (word * n) >> 32


Step = tuple[int, Sequence[float]]


class _Sampler:
    """Runs instructions for one sample and yields its steps; height and width follow the current image."""

    def __init__(self, seed: int, sample_id: int, epoch: int, height: int, width: int):
        self.key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
        self.counter = (sample_id & 0xFFFFFFFF, (sample_id >> 32) & 0xFFFFFFFF, epoch)
        self.source = self.height, self.width = height, width

    def run(self, words: Sequence[float], start: int, end: int) -> Iterator[Step]:
        while start < end:
            kind, length = int(words[start]), int(words[start + 1])
            self.stream = int(words[start + 2]) << 24 | int(words[start + 3]) << 12
            yield from _KINDS[kind](self, words[start + HEADER : start + length])
            start += length

    def draw(self, block: int) -> tuple[int, int, int, int]:
        return philox((*self.counter, self.stream | block), self.key)

    def fixed(self, parameters: Sequence[float]) -> Iterator[Step]:
        opcode, p, *values = parameters
        if _applies(p, self.draw(0)[0]):
            if opcode == OPCODES["Source"]:
                self.height, self.width = self.source
            yield int(opcode), values

    def random_resized_crop(self, parameters: Sequence[float]) -> Iterator[Step]:
        scale_low, scale_high, ratio_low, ratio_high, out_height, out_width, interpolation, pil_compat = parameters
        box = self._crop_box(scale_low, scale_high, ratio_low, ratio_high)
        self.height, self.width = int(out_height), int(out_width)
        yield OPCODES["ResizedCrop"], (*box, out_height, out_width, interpolation, pil_compat)

    def _crop_box(self, scale_low: float, scale_high: float, ratio_low: float, ratio_high: float) -> tuple[int, ...]:
        log_low, log_high = math.log(ratio_low), math.log(ratio_high)
        for attempt in range(10):
            words = self.draw(attempt)
            area = self.height * self.width * (scale_low + uniform(words[0]) * (scale_high - scale_low))
            aspect = math.exp(log_low + uniform(words[1]) * (log_high - log_low))
            width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < width <= self.width and 0 < height <= self.height:
                top, left = below(words[2], self.height - height + 1), below(words[3], self.width - width + 1)
                return top, left, height, width
        return self._central_box(ratio_low, ratio_high)

    def _central_box(self, ratio_low: float, ratio_high: float) -> tuple[int, ...]:
        height, width = self.height, self.width
        if self.width / self.height < ratio_low:
            height = min(max(round(width / ratio_low), 1), self.height)
        elif self.width / self.height > ratio_high:
            width = min(max(round(height * ratio_high), 1), self.width)
        return (self.height - height) // 2, (self.width - width) // 2, height, width

    def color_jitter(self, parameters: Sequence[float]) -> Iterator[Step]:
        p, *ranges = parameters
        apply, order, *_ = self.draw(0)
        if not _applies(p, apply):
            return
        amounts = [
            low + uniform(word) * (high - low) for word, low, high in zip(self.draw(1), ranges[::2], ranges[1::2])
        ]
        code, left = below(order, 24), [0, 1, 2, 3]
        for factorial in (6, 2, 1, 1):
            which = left.pop(code // factorial)
            code %= factorial
            if ranges[2 * which] <= ranges[2 * which + 1]:
                yield _JITTER_OPCODES[which], (amounts[which],)

    def gaussian_blur(self, parameters: Sequence[float]) -> Iterator[Step]:
        p, low, high = parameters
        words = self.draw(0)
        if _applies(p, words[0]):
            yield OPCODES["GaussianBlur"], (low + uniform(words[1]) * (high - low),)

    def random_ops(self, parameters: Sequence[float]) -> Iterator[Step]:
        slots, probability, interpolation, *table = parameters
        for slot in range(int(slots)):
            first, second = self.draw(2 * slot), self.draw(2 * slot + 1)
            entry = below(first[0], len(table) // ENTRY_WORDS) * ENTRY_WORDS
            opcode, base, low, high, signed, kind = table[entry : entry + ENTRY_WORDS]
            magnitude = low + uniform(first[2]) * (high - low)
            value = base + (-magnitude if signed and uniform(first[1]) < 0.5 else magnitude)
            if _applies(probability if probability >= 0 else uniform(first[3]), second[0]):
                values = self._values(int(kind), value, second)
                yield int(opcode), (*values, interpolation) if opcode in _AFFINE_OPCODES else values

    def _values(self, kind: int, value: float, words: Sequence[int]) -> tuple[float, ...]:
        if kind == CUTOUT:
            # The authors' centre: NumPy's uniform(low=side, high=1), bounds reversed.
            x0, y0 = (
                math.trunc(max(0.0, (side + uniform(word) * (1 - side)) - value / 2))
                for side, word in ((self.width, words[1]), (self.height, words[2]))
            )
            return x0, y0, min(self.width, x0 + value), min(self.height, y0 + value)
        whole = math.trunc(value)
        return {PLAIN: (value,), TRUNCATED: (whole,), NO_VALUE: (), BITS: (max(1, whole),)}[kind]

    def jigsaw(self, parameters: Sequence[float]) -> Iterator[Step]:
        p, grid = parameters[0], int(parameters[1])
        if _applies(p, self.draw(0)[0]):
            yield OPCODES["Jigsaw"], self._permutation(grid)

    def _permutation(self, grid: int) -> list[int]:
        """Uniform within each class of tiles of one size, so that any grid fits any image."""
        rows, columns = (
            [side * (i + 1) // grid - side * i // grid for i in range(grid)] for side in (self.height, self.width)
        )
        classes: dict[tuple[int, int], list[int]] = {}
        for tile in range(grid * grid):
            classes.setdefault((rows[tile // grid], columns[tile % grid]), []).append(tile)
        words = (word for block in range(1, 4096) for word in self.draw(block))
        result = [0] * (grid * grid)
        for members in classes.values():
            shuffled = list(members)
            for i in range(len(members) - 1, 0, -1):
                j = below(next(words), i + 1)
                shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
            for tile, origin in zip(members, shuffled):
                result[tile] = origin
        return result

    def choice(self, parameters: Sequence[float]) -> Iterator[Step]:
        count = int(parameters[0])
        cumulative, lengths = parameters[1 : 1 + count], parameters[1 + count : 1 + 2 * count]
        u = uniform(self.draw(0)[0])
        chosen = next((k for k in range(count) if u < cumulative[k]), count - 1)
        start = 1 + 2 * count + int(sum(lengths[:chosen]))
        yield from self.run(parameters, start, start + int(lengths[chosen]))


def _applies(p: float, word: int) -> bool:
    return p >= 1 or uniform(word) < p


_KINDS = {
    FIXED: _Sampler.fixed,
    RANDOM_RESIZED_CROP: _Sampler.random_resized_crop,
    COLOR_JITTER: _Sampler.color_jitter,
    GAUSSIAN_BLUR: _Sampler.gaussian_blur,
    RANDOM_OPS: _Sampler.random_ops,
    JIGSAW: _Sampler.jigsaw,
    CHOICE: _Sampler.choice,
}
