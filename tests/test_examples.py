"""Every example runs on images that it draws itself, and stays short; its loss falls where it can be told so soon."""

import importlib
import math
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Imports an example by its name, with an empty working directory."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return importlib.import_module


@pytest.mark.parametrize("name", [*PROGRAMS, "tour.ipynb"])
def test_is_short_and_listed(name):
    path = next(EXAMPLES.glob(f"{name}*"))
    lines = len(path.read_text().splitlines())
    assert path.suffix == ".ipynb" or lines < 60
    assert f"examples/{path.name}" in (EXAMPLES.parent / "docs" / "examples.md").read_text()


def test_plain_pytorch_learns(example):
    losses = example("plain_pytorch").main()
    assert len(losses) == 12 and sum(losses[-4:]) < sum(losses[:4]) - 1


def test_multi_view_graph_learns_and_draws(example, tmp_path):
    losses = example("multi_view_graph").main()
    assert len(losses) == 5 and losses[-1] < losses[0] and (tmp_path / "graph.png").stat().st_size > 1000


def test_torchvision_dataloader_gives_views_of_every_class(example):
    views, labels = example("torchvision_dataloader").main(workers=1)
    assert all(view.shape == (8, 3, 64, 64) and view.isfinite().all() for view in views)
    assert set(labels.tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize("kind", ["SimSiam", "SimCLR"])
@pytest.mark.filterwarnings("default")  # lightly's own
def test_lightly_module_takes_a_step(kind, example):
    pytest.importorskip("lightly", reason="lightly is not installed: pip install lightly")
    module = example("lightly_module")
    assert math.isfinite(module.main(getattr(module, kind), epochs=1))


@pytest.mark.filterwarnings("default")  # Lightning's own
def test_lightning_module_takes_steps(example):
    pytest.importorskip("pytorch_lightning", reason="Lightning is not installed: pip install pytorch-lightning")
    assert -2 <= example("lightning_module").main(steps=2) <= 2


@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # else no picture becomes an output
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install 'dssl_ops[docs]'")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install 'dssl_ops[docs]'")
    nbformat = importlib.import_module("nbformat")
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # results are not committed
    resources = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    pictures = [
        output for cell in done.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3
