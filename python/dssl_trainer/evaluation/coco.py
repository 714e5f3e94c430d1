"""COCO's layout and metrics: annotations/instances_<split>.json beside the folder <split> with the images."""

import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dssl_ops.image_files import FORMATS, check_pixels

from ..errors import TrainerError, one_line

METRICS = ("AP", "AP50", "AP75")  # the first three of COCOeval's, in its order


def pycocotools():
    """Its COCO, COCOeval and mask. Raises TrainerError where the package is missing."""
    try:
        from pycocotools import mask
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise TrainerError("the package pycocotools is not installed: pip install 'dssl_ops[detect]'") from None
    return COCO, COCOeval, mask


class Split:
    """Images with boxes, labels 1..K and masks. Crowds and boxes below a pixel are no training targets."""

    def __init__(self, place, word):
        place = Path(place).expanduser()
        found = sorted(place.glob(f"annotations/instances_{word}*.json"))
        if len(found) != 1:
            raise TrainerError(
                f"data: expected one annotations/instances_{word}*.json in {place}, as COCO has it; found {len(found)}"
            )
        self.folder = place / found[0].stem.removeprefix("instances_")
        if not self.folder.is_dir():
            raise TrainerError(f"data: {found[0].name} needs its images in {self.folder}; there is no such folder")
        self.coco = read(found[0])
        self.categories = sorted(self.coco.getCatIds())
        self.ids = sorted(self.coco.getImgIds())
        if not self.ids or not self.categories:
            raise TrainerError(f"data: {found[0]} lists no images or no categories")

    def with_targets(self):
        """Ids of the images that hold something to learn."""
        return [number for number in self.ids if self.annotations(number)]

    def annotations(self, number):
        found = self.coco.loadAnns(self.coco.getAnnIds(imgIds=[number], iscrowd=False))
        return [one for one in found if min(one["bbox"][2:]) >= 1 and one.get("segmentation")]

    def image(self, number):
        """uint8 (3, H, W)."""
        name = Path(self.coco.loadImgs([number])[0]["file_name"])
        if name.is_absolute() or ".." in name.parts:
            raise TrainerError(f"data: the annotations name {name}, which is not in {self.folder}")
        try:
            with Image.open(self.folder / name, formats=FORMATS) as image:
                check_pixels(image)
                return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        except Exception as error:  # Pillow's decoders raise some ten kinds
            raise TrainerError(f"data: cannot read {self.folder / name}: {one_line(error)}") from None

    def target(self, number):
        """Boxes (N, 4) x0 y0 x1 y1, labels (N,), masks uint8 (N, H, W)."""
        chosen = self.annotations(number)
        boxes = torch.tensor([one["bbox"] for one in chosen], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([self.categories.index(one["category_id"]) + 1 for one in chosen])
        masks = np.stack([self.coco.annToMask(one) for one in chosen])
        return {"boxes": boxes, "labels": labels, "masks": torch.from_numpy(masks)}


def read(path):
    COCO, *_ = pycocotools()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
            return COCO(str(path))
    except (OSError, ValueError, LookupError, AssertionError, TypeError) as error:
        raise TrainerError(f"data: {path} is not a COCO annotation file: {error}") from None


def detections(split, number, output):
    """The records that COCOeval reads of a torchvision output: boxes, scores, labels, masks (N, 1, H, W) in [0, 1]."""
    *_, mask = pycocotools()
    records = []
    for box, score, label, probability in zip(*(output[k] for k in ("boxes", "scores", "labels", "masks"))):
        packed = mask.encode(np.asfortranarray((probability[0] > 0.5).numpy().astype(np.uint8)))
        x0, y0, x1, y1 = box.tolist()
        records.append({
            "image_id": number, "category_id": split.categories[int(label) - 1], "score": score.item(),
            "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": packed | {"counts": packed["counts"].decode()},
        })  # fmt: skip
    return records


def metrics(split, records):
    """{'AP': .., 'AP50', 'AP75' of boxes, the same with _mask}, percent; 0 where nothing was detected."""
    _, COCOeval, _ = pycocotools()
    found: dict[str, float] = {}
    for kind, ending in (("bbox", ""), ("segm", "_mask")):
        numbers = [0.0] * len(METRICS)
        if records:
            with contextlib.redirect_stdout(io.StringIO()):
                judged = COCOeval(split.coco, split.coco.loadRes([dict(one) for one in records]), kind)
                judged.evaluate()
                judged.accumulate()
                judged.summarize()
            numbers = [100 * float(number) for number in judged.stats[: len(METRICS)]]
        found |= {name + ending: number for name, number in zip(METRICS, numbers)}
    return found
