"""The pictures of the docs site, drawn by the library and the trainer from images that they draw themselves."""

from pathlib import Path

import numpy as np
import torch
from dssl_trainer.data.drawn import draw
from dssl_trainer.reports import gallery
from dssl_trainer.reports.scene import scene
from matplotlib.figure import Figure

from dssl_ops import ViewGraph, barlow_twins, directional_loss, image_op, jigsaw, nt_xent
from dssl_ops import transforms as T

DPI = 110
VIEW_NAMES = ("$v$", "$v'$", r"$\hat{v}$", r"$\hat{v}'$")


def draw_all(folder: Path) -> None:
    """Every function of this file whose name begins with `picture_` writes FOLDER/<name>.png."""
    folder.mkdir(exist_ok=True)
    for name, function in sorted(globals().items()):
        if name.startswith("picture_"):
            function(folder / f"{name.removeprefix('picture_')}.png")


def row(count, width=2.0, height=2.3):
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, count))


def show(axis, picture, title, **options):
    image = picture.permute(1, 2, 0).numpy() if isinstance(picture, torch.Tensor) and picture.dim() == 3 else picture
    axis.imshow(image, **options)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)


def square(side=224):
    """uint8 (1, 3, side, side): the middle of the drawn scene."""
    return image_op(scene()[None], "ResizedCrop", (20, 60, 320, 320), size=(side, side))


# ---- the idea


def picture_graphs(path):
    """Who learns from whom: SimSiam on two views, all pairs of four, DSSL, and Eq. 6 with softened terms."""
    graphs = {
        "symmetric()": ViewGraph.symmetric(),
        "all_pairs(4)": ViewGraph.all_pairs(4),
        "dssl()": ViewGraph.dssl(),
        "weighted(1, 0, 0.9, 0.1)": ViewGraph.weighted(1, 0, 0.9, 0.1),
    }
    figure, axes = row(len(graphs), 2.4, 2.7)
    for axis, (name, graph) in zip(axes, graphs.items(), strict=True):
        graph.draw(axis)
        axis.set_title(name, fontsize=9, family="monospace")
    figure.savefig(path, dpi=DPI)


def picture_views(path):
    """What `dssl views` draws: one image, its standard views and the heavy ones that are made from them."""
    gallery.draw(None, path, "RA(2,5)+Jigsaw(4)", None, None, None, 5, 1, None)


def picture_training_views(path):
    """Eight of the images that the demo trains on, as v, v', v^ and v^'."""
    images, _ = draw(8, seed=3)
    views = T.DirectedViews(T.StandardView.cifar10(), T.policy("RA(2,5)+Jigsaw(4)"))(images, seed=0)
    figure = Figure(figsize=(8, 5), layout="constrained")
    for line, (name, batch) in enumerate(zip(("image", *VIEW_NAMES), (images, *views), strict=True)):
        for column, picture in enumerate(batch):
            axis = figure.add_subplot(5, 8, 8 * line + column + 1)
            show(axis, picture, "")
            if column == 0:
                axis.set_ylabel(name, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=DPI)


# ---- the ops


def picture_directional_loss(path):
    """A prediction follows the gradient to its target; the target stays."""
    target, prediction = torch.tensor([[1.0, 0.25]]), torch.tensor([[-0.5, 1.0]], requires_grad=True)
    figure, (axis,) = row(1, 4.2, 3.2)
    one_edge = ViewGraph([(0, 0, 1.0)])
    for step in range(12):
        here = prediction.detach()[0]
        axis.annotate("", here, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "tab:red", "alpha": 0.2 + step / 15})
        (slope,) = torch.autograd.grad(directional_loss([prediction], [target], one_edge), prediction)
        prediction = (prediction - 0.25 * slope).detach().requires_grad_()
    axis.annotate("", target[0], (0, 0), arrowprops={"arrowstyle": "-|>", "color": "tab:blue", "lw": 2.5})
    axis.text(0.9, 0.08, "target t", color="tab:blue", ha="center")
    axis.text(-0.55, 1.1, "prediction p", color="tab:red", ha="center")
    axis.set(xlim=(-0.9, 1.3), ylim=(-0.05, 1.4), aspect="equal", xticks=[], yticks=[])
    axis.set_title("gradient steps of p: it turns, t stays", fontsize=9)
    figure.savefig(path, dpi=DPI)


def picture_nt_xent(path):
    """The matrix that the loss is defined on and never stores: rows, their positives, the excluded diagonal."""
    random = torch.Generator().manual_seed(0)
    z = torch.nn.functional.normalize(torch.randn(8, 16, generator=random), dim=1)
    z_a, z_b = z + 0.12 * torch.randn(8, 16, generator=random), z + 0.12 * torch.randn(8, 16, generator=random)
    rows = torch.nn.functional.normalize(torch.cat([z_a, z_b]), dim=1)
    cosine = (rows @ rows.t()).fill_diagonal_(torch.nan)
    figure, (left, right) = row(2, 3.6, 3.2)
    show(left, cosine.numpy(), "cosines of 2N rows; white: excluded", cmap="viridis", vmin=-1, vmax=1)
    left.scatter(np.arange(16), (np.arange(16) + 8) % 16, s=22, facecolors="none", edgecolors="red")
    temperatures = np.geomspace(0.03, 3, 40)
    right.semilogx(temperatures, [float(nt_xent(z_a, z_b, temperature)) for temperature in temperatures])
    right.set_title("loss over temperature", fontsize=9)
    right.grid(alpha=0.3)
    figure.savefig(path, dpi=DPI)


def picture_barlow_twins(path):
    """The cross-correlation before and after some steps on the loss: it is drawn to the identity."""
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=random)
    x = torch.randn(256, 12, generator=random)
    x_a, x_b = (x + 0.3 * torch.randn(256, 12, generator=random) for _ in range(2))
    weights = mixing.clone().requires_grad_()
    optimizer = torch.optim.Adam([weights], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        barlow_twins(x_a @ weights, x_b @ weights, lambd=0.1).backward()
        optimizer.step()
    figure, axes = row(2, 2.9, 3.1)
    for axis, w, title in zip(axes, (mixing, weights.detach()), ("C at first", "after 200 steps"), strict=True):
        correlation = torch.corrcoef(torch.cat([(x_a @ w).t(), (x_b @ w).t()]))[:12, 12:]
        show(axis, correlation.numpy(), title, cmap="RdBu_r", vmin=-1, vmax=1)
    figure.savefig(path, dpi=DPI)


def picture_jigsaw(path):
    """One image, cut into 2 x 2, 4 x 4 and 7 x 7 tiles; 7 divides 224, and 5 does not."""
    image = square()
    figure, axes = row(4, 2.6, 2.9)
    show(axes[0], image[0], "image")
    for axis, grid in zip(axes[1:], (2, 4, 5), strict=True):
        if 224 % grid == 0:
            random = torch.Generator().manual_seed(grid)
            moved = jigsaw(image, grid, torch.randperm(grid * grid, generator=random)[None])
            show(axis, moved[0], f"jigsaw(images, {grid}, permutation)")
        else:
            show(axis, T.Jigsaw(grid)(image, seed=0)[0], f"transforms.Jigsaw({grid})")
    figure.savefig(path, dpi=DPI)


def picture_operations(path):
    """What `dssl views --op all` draws: the authors' sixteen operations over the magnitudes."""
    gallery.draw(None, path, "", None, None, "author16", 0, 1, "all")


def picture_transforms(path):
    """Some transforms on one image, three draws each."""
    image = square()
    shown = {
        "StandardView.imagenet(224)": T.StandardView.imagenet(224),
        "RandAugment(2, 5)": T.RandAugment(2, 5),
        "UniformAugment()": T.UniformAugment(),
        "Jigsaw(4)": T.Jigsaw(4),
        "ColorJitter(0.4, 0.4, 0.4, 0.1)": T.ColorJitter(0.4, 0.4, 0.4, 0.1),
        "GaussianBlur((0.1, 2.0))": T.GaussianBlur((0.1, 2.0)),
    }
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    for group, (name, transform) in enumerate(shown.items()):
        line, side = divmod(group, 2)
        for draw_number in range(3):
            axis = figure.add_subplot(3, 6, 6 * line + 3 * side + draw_number + 1)
            picture = transform(image, seed=1, sample_ids=[draw_number])[0]
            show(axis, picture, name if draw_number == 1 else "")
            axis.title.set_family("monospace")
    figure.savefig(path, dpi=DPI)
