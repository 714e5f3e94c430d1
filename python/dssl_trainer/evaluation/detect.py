"""`dssl detect`: Mask R-CNN with an FPN, fine-tuned from a run's encoder on COCO-format data (Table 5).

As MoCo's and SimSiam's transfer to detection: nothing is frozen, batch norm is trained in backbone and FPN (there
synchronised over 8 GPUs; here over the batch of the one process), 90,000 iterations of 16 images, lr 0.02, a tenth of
it from 2/3 and a hundredth from 8/9 of the way, a linear warm-up of 1,000, shorter side 640 to 800.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from .. import checkpoint
from ..atomic import replacing
from ..bar import bar
from ..data.views import normalize
from ..errors import TrainerError
from ..experiments import TABLE5
from ..export import refuse_other_stems
from ..interruption import Interrupted, interruption
from ..record import commit
from ..trained import open_run
from .coco import Split, detections, metrics

COLUMNS = ("AP50", "AP", "AP75", "AP50_mask", "AP_mask", "AP75_mask")
STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Recipe:
    iterations: int = 90_000
    batch_size: int = 16
    lr: float = 0.02
    warmup: int = 1000
    sizes: tuple[int, ...] = (640, 672, 704, 736, 768, 800)  # of the shorter side; the last one tests
    longest: int = 1333
    seed: int = 0
    save_every: int = 1000

    def rate(self, iteration):
        ramp = min(1.0, (iteration + 1) / (min(self.warmup, self.iterations) or 1))
        return self.lr * ramp * 0.1 ** sum(9 * iteration >= share * self.iterations for share in (6, 8))


def detect(place, data, out, recipe, device="auto"):
    """Trains, tests on the val split, writes detection.json into `out`, and returns what it holds.

    Continues from detector.pt in `out`. Raises TrainerError for an encoder with another stem or data that is not
    COCO's layout."""
    run = open_run(place, device)
    refuse_other_stems(run.config.encoder, "detect")
    train, val = Split(data, "train"), Split(data, "val")
    if train.categories != val.categories:
        raise TrainerError(f"data: {data} has other categories in train than in val")
    folder = Path(out or run.path.parent / "detection")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    model = new_detector(run, len(train.categories), recipe).to(run.config.device)
    fit(model, train, recipe, run, folder / "detector.pt")
    result = {
        **test(model, val, run.config.device), "recipe": vars(recipe), "encoder": run.config.encoder,
        "checkpoint": str(run.path), "step": run.step, "data": str(data), "train_images": len(train.with_targets()),
        "val_images": len(val.ids), "commit": commit(),
    }  # fmt: skip
    with replacing(folder / "detection.json", "w") as file:
        file.write(json.dumps(result, indent=2) + "\n")
    return result | {"file": str(folder / "detection.json")}


def new_detector(run, categories, recipe):
    """torchvision's MaskRCNN on the run's encoder; every layer is trained."""
    encoder, width, norm = run.encoder.requires_grad_(True), run.encoder.width, normalize(run.config)
    levels = {name: str(k) for k, name in enumerate(STAGES)}
    backbone = BackboneWithFPN(encoder, levels, [width // 8 * 2**k for k in range(4)], 256, LastLevelMaxPool(),
                               norm_layer=nn.BatchNorm2d)  # fmt: skip
    inputs = {"min_size": recipe.sizes, "max_size": recipe.longest}
    return MaskRCNN(backbone, categories + 1, **inputs, image_mean=list(norm.mean), image_std=list(norm.std))


def fit(model, split, recipe, run, path):
    optimizer = torch.optim.SGD(model.parameters(), recipe.lr, momentum=0.9, weight_decay=1e-4)
    start, ids = restore(model, optimizer, recipe, run, path), split.with_targets()
    if not ids:
        raise TrainerError("data: no training image holds an object")
    model.train()
    with bar(total=recipe.iterations, initial=start, desc="detect", unit="step") as progress, interruption() as signals:
        for iteration in range(start, recipe.iterations):
            random = np.random.default_rng([recipe.seed, iteration])  # also of a resumed run
            torch.manual_seed(int(random.integers(2**62)))  # torchvision samples sizes and boxes from the global state
            batch = [example(split, ids[k], random) for k in random.integers(len(ids), size=recipe.batch_size)]
            images, targets = zip(*(on(run.config.device, *one) for one in batch))
            loss = step(model, optimizer, images, targets, recipe.rate(iteration))
            if not math.isfinite(loss):
                raise TrainerError(f"loss is {loss} at iteration {iteration}; a lower --lr may help")
            progress.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            progress.update()
            done = iteration + 1
            if done % recipe.save_every == 0 or done == recipe.iterations or signals:
                save(model, optimizer, done, recipe, run, path)
            if signals:
                told = f"stopped: iteration {done} of {recipe.iterations} saved in {path.parent}"
                raise Interrupted(f"{told}; run the same command again to resume", signals[0])


def example(split, number, random):
    """Image and target, both mirrored half of the time."""
    image, target = split.image(number), split.target(number)
    if random.random() < 0.5:
        image, boxes = image.flip(2), target["boxes"]
        mirrored = torch.stack(
            [image.shape[2] - boxes[:, 2], boxes[:, 1], image.shape[2] - boxes[:, 0], boxes[:, 3]], 1
        )
        target = target | {"boxes": mirrored, "masks": target["masks"].flip(2)}
    return image.float() / 255, target


def on(device, image, target):
    return image.to(device), {name: tensor.to(device) for name, tensor in target.items()}


def step(model, optimizer, images, targets, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = sum(model(list(images), list(targets)).values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.inference_mode()
def test(model, split, device):
    """Box and mask AP on all images of the split, percent."""
    model.eval()
    records = []
    for number in bar(split.ids, desc="test", unit=" images"):
        output = model([(split.image(number).float() / 255).to(device)])[0]
        records += detections(split, number, {name: tensor.cpu() for name, tensor in output.items()})
    return metrics(split, records)


# ---- checkpoints


def identity(recipe, run):
    """What a resumed detector must have in common with the one that was saved."""
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(recipe).items() if name != "save_every"}
    return values | {"run": str(run.path), "run_step": run.step}


def save(model, optimizer, iteration, recipe, run, path):
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": iteration}
    checkpoint.save(state | {"identity": identity(recipe, run)}, path)


def restore(model, optimizer, recipe, run, path):
    """The iteration to go on from, 0 without a checkpoint."""
    if not path.exists():
        return 0
    with checkpoint.reading(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept, own = state["identity"], identity(recipe, run)
        if changed := [name for name in own if own[name] != kept.get(name)]:
            raise TrainerError(f"{path} was made with another {changed[0]}: {kept.get(changed[0])}; use another --out")
        checkpoint.load_weights(model, state["model"], path)
        optimizer.load_state_dict(state["optimizer"])
        return state["iteration"]


def table(result):
    """Our row above the paper's. None of theirs is comparable but with the same data, epochs and iterations."""
    rows = {"this run": [result[name] for name in COLUMNS], **{row.label: row.paper for row in TABLE5}}
    lines = [f"{'':24}" + "".join(f"{name:>11}" for name in COLUMNS)]
    lines += [f"{name:24}" + "".join(f"{number:11.1f}" for number in row) for name, row in rows.items()]
    return "\n".join([*lines, "rows below the first: the paper's Table 5 (ResNet-50, COCO 2017, 90,000 iterations)"])
