"""Policies as text: `policy("RA(2,5)+Jigsaw(4)")`, for command lines and settings."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from .compose import Choice, Compose, RandomApply
from .instructions import Transform
from .program import require
from .random_ops import RandAugment, UniformAugment
from .single_transforms import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    HorizontalFlip,
    Jigsaw,
    RandomResizedCrop,
    Solarize,
)
from .views import StandardView

_CLASSES = (
    *(RandAugment, UniformAugment, Jigsaw, Choice, RandomApply, Compose, ColorJitter, GaussianBlur),
    *(Grayscale, HorizontalFlip, RandomResizedCrop, Solarize, StandardView),
)
_NAMED = {"ra": RandAugment, "ua": UniformAugment} | {kind.__name__.lower(): kind for kind in _CLASSES}
LONGEST = 4000  # characters


def policy(text: str, op_set: str | None = None) -> Transform:
    """The transform that `text` writes down; it is parsed, never evaluated.

    A policy is terms joined by +, run from left to right. A term is a transform's name with its arguments as in
    Python, by position or name, or without them: `RA(2,5)` (RandAugment), `UA` (UniformAugment), `Jigsaw(4, p=0.1)`,
    `Solarize(128, p=0.2)`, `RandomApply((RA, Jigsaw), 0.5)`. Names ignore case; words need no quotes: `RA(2, 9,
    op_set=ra14)`. `Choice(0.9*RA(2,5), 0.1*Jigsaw(4))` runs exactly one of its terms, with those probabilities, or with
    equal ones where none is written. The repr of a transform is a policy too.

    Args:
        text: the policy.
        op_set: that of every RA and UA which names none; None leaves each its own default.

    Raises:
        ValueError: that says what is wrong and where.
    """
    require(isinstance(text, str), f"policy: expected text such as 'RA(2,5)+Jigsaw(4)'; got {type(text).__name__}")
    require(len(text) <= LONGEST, f"policy: at most {LONGEST} characters; got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        found = _Reader(text.strip(), op_set).value(tree)
    except SyntaxError as error:
        raise ValueError(f"policy: {error.msg} at character {error.offset or 1} of {text!r}") from None
    except (RecursionError, MemoryError):
        raise ValueError("policy: nested too deep") from None
    require(isinstance(found, Transform), f"policy: expected {', '.join(_short_names())}; got {text!r}")
    return found


class _Weighted(NamedTuple):
    probability: float
    transform: Transform


def _short_names() -> list[str]:
    return ["RA", "UA", *(kind.__name__ for kind in _CLASSES)]


class _Reader:
    """Turns the syntax tree of one text into transforms, numbers, words and tuples of them."""

    def __init__(self, text: str, op_set: str | None):
        self.text, self.op_set = text, op_set

    def value(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, type(None))):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self.value(node.operand)
            self._expect(isinstance(number, (int, float)), "a number after -", node)
            return -number
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(map(self.value, node.elts))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return Compose((*self._terms(node.left), *self._terms(node.right)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node, node.func.id, node.args, node.keywords)
        if isinstance(node, ast.Name):
            return self._call(node, node.id, [], []) if node.id.lower() in _NAMED else node.id
        raise self._error("terms such as RA(2,5) joined by +", node)

    def _terms(self, node: ast.AST) -> tuple[Transform, ...]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return (*self._terms(node.left), *self._terms(node.right))
        term = self.value(node)
        self._expect(isinstance(term, Transform), f"one of {', '.join(_short_names())}", node)
        return (term,)

    def _call(self, node: ast.AST, name: str, arguments: list[ast.expr], keywords: list[ast.keyword]) -> Transform:
        kind = _NAMED.get(name.lower())
        if kind is None:
            raise self._error(f"one of {', '.join(_short_names())}", node)
        positional = [self._argument(kind, argument) for argument in arguments]
        named = {keyword.arg: self.value(keyword.value) for keyword in keywords if keyword.arg}
        self._expect(all(keyword.arg for keyword in keywords), "no **", node)
        if kind is Choice and any(isinstance(value, (Transform, _Weighted)) for value in positional):
            positional = self._choice(node, positional)
        return self._make(kind, positional, named)

    def _argument(self, kind: type, node: ast.expr) -> Any:
        """An argument; in a Choice it may be probability*term."""
        self._expect(not isinstance(node, ast.Starred), "no *", node)
        if kind is not Choice or not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
            return self.value(node)
        probability, term = self.value(node.left), self.value(node.right)
        good = isinstance(probability, (int, float)) and isinstance(term, Transform)
        self._expect(good, "probability*transform", node)
        return _Weighted(probability, term)

    def _choice(self, node: ast.AST, values: list[Any]) -> list[Any]:
        weighted = [isinstance(value, _Weighted) for value in values]
        self._expect(all(weighted) or not any(weighted), "a probability before every term of Choice or none", node)
        return [*zip(*values)][::-1] if all(weighted) else [tuple(values)]

    def _make(self, kind: Callable[..., Transform], positional: list[Any], named: dict[str, Any]) -> Transform:
        signature = inspect.signature(kind)
        try:
            bound = signature.bind(*positional, **named)
        except TypeError as error:
            takes = ", ".join(signature.parameters)
            raise ValueError(f"policy: {kind.__name__} takes {takes}: {error} in {self.text!r}") from None
        if self.op_set is not None and "op_set" in signature.parameters:
            bound.arguments.setdefault("op_set", self.op_set)
        return kind(*bound.args, **bound.kwargs)

    def _expect(self, condition: bool, expected: str, node: ast.AST) -> None:
        if not condition:
            raise self._error(expected, node)

    def _error(self, expected: str, node: ast.AST) -> ValueError:
        got = ast.get_source_segment(self.text, node) or self.text
        return ValueError(f"policy: expected {expected}; got {got!r} in {self.text!r}")
