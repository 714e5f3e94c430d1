"""Our transforms on a torchvision data set, in the workers of a DataLoader; each operation gives Pillow's bits.

`python examples/torchvision_dataloader.py [FOLDER]`: FOLDER has one folder of images for each class.
"""

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from plain_pytorch import drawn_images
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor

from dssl_ops import transforms as T


def draw_folder(folder):
    """PNG files in folders by label, of several sizes."""
    for number, (image, label) in enumerate(drawn_images(24)):
        place = Path(folder) / f"class{label}"
        place.mkdir(exist_ok=True)
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture.resize((40 + number, 36)).save(place / f"{number}.png")


def main(folder=None, workers=2):
    with tempfile.TemporaryDirectory() as drawn:
        if folder is None:
            draw_folder(folder := drawn)
        files = ImageFolder(folder, transform=PILToTensor())  # uint8 (3, H, W) of any sizes
        views = T.MultiView(T.StandardView.imagenet(64), views=2)
        collate = T.Collate(views, seed=0)
        loader = DataLoader(T.Indexed(files), 8, shuffle=True, num_workers=workers, collate_fn=collate)
        normalize = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        for epoch in range(2):
            collate.set_epoch(epoch)
            for (v, v_prime), labels in loader:  # uint8: a quarter of the bytes between processes
                mean, std = (part.view(3, 1, 1) for part in normalize)
                inputs = [(view / 255 - mean) / std for view in (v, v_prime)]
                print(f"epoch {epoch}: {tuple(inputs[0].shape)}, labels {labels.tolist()}")
        return inputs, labels


if __name__ == "__main__":
    main(*sys.argv[1:])
