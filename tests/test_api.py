"""docs/api.md names the public API, all of it and nothing else."""

import importlib
import re
from pathlib import Path

import pytest

import dssl_ops

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "api.md").read_text()
SECTIONS = dict(re.findall(r"^## `([\w.]+)`\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))
MODULES = ("dssl_ops", "dssl_ops.transforms", "dssl_ops.adapters.lightly", "dssl_ops.adapters.torchvision")


def test_the_page_has_every_public_module():
    folder = Path(dssl_ops.__file__).parent
    assert tuple(SECTIONS) == MODULES
    assert {f"dssl_ops.adapters.{path.stem}" for path in folder.glob("adapters/[a-z]*.py")} == set(MODULES[2:])


@pytest.mark.parametrize("name", MODULES)
def test_the_page_is_the_table_of_contents(name):
    module = importlib.import_module(name)
    cells = re.findall(r"^\| (`.*?) \|", SECTIONS[name], re.M)
    named = [word for cell in cells for word in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(module.__all__)
    for word in named:
        assert getattr(module, word).__doc__
