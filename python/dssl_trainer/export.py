"""`dssl export`: the encoder alone, in the form that torchvision, timm or detectron2 load strictly.

torchvision, timm: a state_dict under torchvision's names, which are timm's too, without the classifier (`fc`).
detectron2: what its convert-torchvision-to-d2.py writes of a ResNet: {"model": {name: NumPy array}, "__author__",
"matching_heuristics": True} as a pickle, without the classifier and without num_batches_tracked, which detectron2's
norms do not have. That pickle is written here and never read: reading one runs whatever it names, writing one does not.
"""

import pickle
import re
from pathlib import Path

import torch

from .atomic import replacing
from .data.views import normalize
from .errors import TrainerError
from .trained import open_run

TARGETS = {"torchvision": ".pth", "timm": ".pth", "detectron2": ".pkl"}
STANDARD = ("resnet18", "resnet50")
HOW = {
    "torchvision": "model = torchvision.models.{name}(); model.fc = torch.nn.Identity(); model.load_state_dict("
    "torch.load({path!r}, weights_only=True))",
    "timm": "model = timm.create_model({name!r}, num_classes=0); model.load_state_dict("
    "torch.load({path!r}, weights_only=True))",
    "detectron2": "MODEL.WEIGHTS {path}, MODEL.RESNETS.DEPTH {depth}, MODEL.RESNETS.STRIDE_IN_1X1 False, INPUT.FORMAT "
    "RGB, MODEL.PIXEL_MEAN {mean}, MODEL.PIXEL_STD {std}",
}


def export(place, target, out=None):
    """Writes the encoder of RUN for `target`; (path, a line that says how to load it)."""
    if target not in TARGETS:
        raise TrainerError(f"--to: expected one of {', '.join(TARGETS)}; got {target!r}")
    run = open_run(place, device="cpu")
    name = run.config.encoder
    refuse_other_stems(name, target)
    path = Path(out or run.path.with_name(f"{name}-{target}{TARGETS[target]}"))
    weights = {key: tensor.contiguous() for key, tensor in run.encoder.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        if target == "detectron2":
            pickle.dump(detectron2_record(weights), file)
        else:
            torch.save(weights, file)
    return path, how_to_load(run.config, target, path)


def refuse_other_stems(name, target):
    """Raises TrainerError for an encoder that the target's networks cannot be."""
    if name not in STANDARD:
        raise TrainerError(
            f"{target} has no network with the weights of {name}: its stem is a 3x3 convolution without max-pool, for "
            f"small images; expected {' or '.join(STANDARD)}. The weights are encoder.* in checkpoint.pt"
        )


def detectron2_record(weights):
    renamed = {detectron2_name(key): tensor.numpy() for key, tensor in weights.items() if "num_batches" not in key}
    return {"model": renamed, "__author__": "dssl", "matching_heuristics": True}


def detectron2_name(key):
    """layer1.0.bn2.weight -> res2.0.conv2.norm.weight, bn1.bias -> stem.conv1.norm.bias, .. downsample -> shortcut."""
    if not key.startswith("layer"):
        key = f"stem.{key}"
    key = re.sub(r"layer(\d)", lambda found: f"res{int(found[1]) + 1}", key)
    key = re.sub(r"bn(\d)", r"conv\1.norm", key)
    return key.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def how_to_load(config, target, path):
    """With the numbers that the inputs are normalised with."""
    norm, name = normalize(config), config.encoder
    scale = 255 if target == "detectron2" else 1
    mean, std = ([round(scale * number, 4) for number in numbers] for numbers in (norm.mean, norm.std))
    text = HOW[target].format(name=name, path=str(path), depth=name.removeprefix("resnet"), mean=mean, std=std)
    return text if target == "detectron2" else f"{text}; inputs RGB in [0, 1], minus {mean}, divided by {std}"
