"""What augmentation does, as pictures: a policy step by step and single operations by magnitude (`dssl views`), and the
views that a run trains on (its gallery.png)."""

import itertools
import re

import torch

from dssl_ops import ImageFiles, Program, augment, image_op
from dssl_ops.op_sets import OP_SETS
from dssl_ops.transforms import DirectedViews, RandAugment, StandardView, policy

from ..data.views import view_maker
from ..errors import TrainerError
from ..record import subtitle
from ..variants import LABELS, heavy_views, view_names
from .page import BLUE, GREY, ORANGE, RED, Panel, save
from .scene import scene
from .words import told

MAGNITUDES = (0, 1, 5, 9, 15, 20, 25, 30)
LARGEST = 224  # side of the picture that operations are shown on
NAMES = (("$v$", r"$\hat{v}$", BLUE), ("$v'$", r"$\hat{v}'$", ORANGE))
STANDARDS = {"cifar10": StandardView.cifar10, "imagenet": StandardView.imagenet, "byol": StandardView.byol}


def draw(place, out, heavy, standard, size, op_set, seed, count, op):
    """Write the page; TrainerError in one line for what cannot be drawn."""
    for name, number in (("size", size), ("images", count)):
        if number is not None and number < 1:
            raise TrainerError(f"--{name}: expected 1 or more; got {number}")
    try:
        if op is None:
            draw_views(place, out, heavy, standard, size, op_set, seed, count)
        else:
            draw_operations(place, out, op, op_set or "author16", seed)
    except (TypeError, ValueError, RuntimeError) as error:  # dssl_ops says what is wrong in one line
        raise TrainerError(str(error)) from None


# ---- views


def draw_views(place, out, heavy, standard, size, op_set, seed, count):
    """For each image a lane from v to v^ and one from v' to v^'."""
    named = images_of(place, count)
    views = DirectedViews(standard_of(standard, size, named[0][1]), policy(heavy, op_set))
    groups = [lanes_of(views, name, image, seed, number) for number, (name, image) in enumerate(named)]
    sets = dict.fromkeys(re.findall(r"op_set='(\w+)'", repr(views.heavy)))
    about = f"{heavy}    op set {', '.join(sets)}" if sets else heavy
    save(out, groups, f"Heavy policy  {about}", f"standard view {views.standard}; seed {seed}, epoch 0")


def standard_of(text, size, image):
    """The standard view that the text names: a word of STANDARDS or a policy; None: the one for images so large."""
    text = text or ("cifar10" if max(image.shape) <= 64 else "imagenet")
    if text in STANDARDS:
        return STANDARDS[text](*([size] if size else []))
    if size:
        raise ValueError(f"--size goes with --standard {', '.join(STANDARDS)}; got {text!r}")
    return policy(text)


def lanes_of(views, name, image, seed, number):
    """Two lanes of panels: the image and v to v^, and v' to v^'."""
    program = views.sample(image[None], seed=seed, sample_ids=[number])
    made, steps = augment(image[None], program)[:, 0], program.steps(0)
    parts = between_ends(steps)
    lanes: list[list] = []
    boxes = []
    for view, (light, heavy, colour) in enumerate(NAMES):
        standard, tail = parts[view]
        if standard and standard[0][0] == "ResizedCrop":
            boxes.append((*standard[0][1][:4], colour))
        lane = [Panel(made[view], light, "\n".join(itertools.starmap(told, standard)) or "as it is", colour)]
        for step in tail:
            lane.append(Panel(after(lane[-1].picture, step), "", told(*step)))
        if not tail:
            lane.append(Panel(made[2 + view], "", "no step drawn: the same"))
        lane[-1].title, lane[-1].colour = heavy, RED
        lanes.append(lane)
    height, width = image.shape[1:]
    lanes[0].insert(0, Panel(image, "image", f"{name}\n{width}x{height}", GREY, tuple(boxes)))
    lanes[1].insert(0, None)
    return lanes


def between_ends(steps):
    """((steps of v, those from v to v^), (of v', from v' to v^')) of a program of DirectedViews."""
    parts: list[list] = [[]]
    for step in steps:
        if step[0] in ("Emit", "Source"):
            parts.append([])
        else:
            parts[-1].append(step)
    first, heavy, _, second, heavy_prime, _ = parts  # v, v^, nothing before Source, v', v^', nothing after
    return (first, heavy), (second, heavy_prime)


def after(picture, step):
    """The picture, uint8 (3, H, W), after one step more."""
    name, values = step
    height, width = map(int, values[4:6] if name == "ResizedCrop" else picture.shape[1:])
    return augment(picture[None], Program.from_steps([[step]], (height, width)))[0, 0]


# ---- the views of a run


def draw_run(images, config, path, source, rows=6):
    """The first image of each of `rows` classes and its views, as epoch 0 makes them."""
    ids = torch.stack([(images.labels == label).nonzero()[0, 0] for label in images.labels.unique()[:rows]])
    pixels, maker = images.batch(ids), view_maker(config, normalized=False)
    try:
        program = maker.sample(pixels, seed=config.seed, epoch=0, sample_ids=ids)
        views = augment(pixels, program)
    except (TypeError, ValueError, RuntimeError) as error:  # such as a grid larger than the side
        raise TrainerError(str(error)) from None
    groups = []
    for row, image in enumerate(pixels):
        words = captions(program.steps(row))
        lane = [Panel(view[row], name, words[k], RED if k in heavy_views(config) else (BLUE, ORANGE)[k % 2])
                for k, (name, view) in enumerate(zip(view_names(config), views))]  # fmt: skip
        groups.append([[Panel(image, "image", ""), *lane]])
    save(path, groups, f"{LABELS[config.variant]}: views of epoch 0", subtitle(config, source), arrows=False)


def captions(steps):
    """{view: the steps since the image or the view that it continues}, in words."""
    words: list[str] = []
    found = {}
    for name, values in steps:
        if name == "Emit":
            found[int(values[0])] = "\n".join(words)
        if name in ("Emit", "Source"):
            words = []
        else:
            words.append(told(name, values))
    return found


# ---- operations


def draw_operations(place, out, op, op_set, seed):
    """A row for every operation, or for the one named, over its magnitudes, on the first image."""
    if op_set not in OP_SETS:
        raise ValueError(f"--op-set: expected one of {', '.join(OP_SETS)}; got {op_set!r}")
    name, image = images_of(place, 1)[0]
    picture = reduced(image)
    drawn = {m: operations(op_set, m, tuple(picture.shape[1:]), seed) for m in MAGNITUDES}
    known = sorted(drawn[0])
    if op != "all" and op not in known:
        raise ValueError(f"--op: expected all or one of {', '.join(known)}, those of {op_set}; got {op!r}")
    groups = []
    for operation in known if op == "all" else [op]:
        lane = [Panel(picture, operation, name, BLUE)]
        for m in MAGNITUDES:
            step = drawn[m][operation]
            lane.append(Panel(after(picture, step), f"m = {m}", told(*step), RED if m == 5 else GREY))
        groups.append([lane if step[1] else [lane[0], Panel(lane[1].picture, "any m", operation, RED)]])
    save(out, groups, f"Operations of {op_set} by magnitude m", f"red: the paper's m = 5; seed {seed}", arrows=False)


def operations(op_set, m, size, seed):
    """{name: step} of the set at magnitude m, as RandAugment draws them; of signed ones the larger value."""
    program = RandAugment(1, m, op_set).sample([size] * 1000, seed=seed)
    found: dict[str, tuple] = {}
    for name, values in (program.steps(index)[0] for index in range(1000)):
        if name not in found or (name != "Cutout" and values > found[name][1]):
            found[name] = (name, values)
    return found


def reduced(image):
    height, width = image.shape[1:]
    share = min(1, LARGEST / max(height, width))
    size = (max(1, round(height * share)), max(1, round(width * share)))
    return image_op(image[None], "ResizedCrop", (0, 0, height, width), size=size)[0]


# ---- images


def images_of(place, count):
    """[(name, uint8 (3, H, W))]: at most `count` images, spread over the place; a drawn scene where that is None."""
    if place is None:
        return [("drawn by dssl", scene())]
    files = ImageFiles(place)
    first = [number * len(files) // count for number in range(min(count, len(files)))]
    found = []
    for index in dict.fromkeys([*first, *range(len(files))]):  # the rest stands in for what cannot be read
        image, _ = files[index]
        if image is not None:
            found.append((files.path(index).rsplit("/")[-1], image))
        if len(found) == min(count, len(files)):
            break
    if not found:
        raise ValueError(f"no image in {place} can be read")
    return found
