"""Data readers: the same images through every layout give the same bytes."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from dssl_trainer.config import Config, TrainerError
from dssl_trainer.data import load
from dssl_trainer.drawn import draw
from PIL import Image


@pytest.fixture(scope="module")
def images():
    """Lossless truth: 12 train and 6 test images of three classes."""
    pixels, _ = draw(18, seed=4)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


NAMES = ("ant", "bee", "cat")


def write_tree(folder, images, split="test"):
    for i, image in enumerate(images):
        path = folder / ("train" if i < 12 else split) / NAMES[i % 3] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def expect(dataset, images):
    """Both splits hold the images class by class, in the order of their file names."""
    for part, first, last in ((dataset.train, 0, 12), (dataset.test, 12, 18)):
        order = sorted(range(first, last), key=lambda i: (i % 3, i))
        assert part.pixels.dtype == torch.uint8 and part.pixels.is_contiguous()
        assert np.array_equal(part.pixels.permute(0, 2, 3, 1).numpy(), images[order])
        assert part.labels.tolist() == [i % 3 for i in order]
    assert dataset.classes == NAMES


@pytest.mark.parametrize("split", ["test", "val"])
def test_folder_tree(split, tmp_path, images):
    write_tree(tmp_path, images, split)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not an image")
    expect(load(Config(data=str(tmp_path))), images)


def test_zips_of_trees(tmp_path, images):
    write_tree(tmp_path / "tree", images)
    for split in ("train", "test"):
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            for path in (tmp_path / "tree" / split).glob("*/*"):
                archive.write(path, path.relative_to(tmp_path / "tree"))
    expect(load(Config(data=str(tmp_path))), images)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("protocol", [2, 5])  # the real files are protocol 2
def test_python_batches(inner, protocol, tmp_path, images):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    flat = images.transpose(0, 3, 1, 2).reshape(18, 3072)
    labels = [i % 3 for i in range(18)]
    parts = {"data_batch_1": slice(0, 5), "data_batch_2": slice(5, 12), "test_batch": slice(12, 18)}
    for name, part in parts.items():
        content = {b"data": flat[part], b"labels": labels[part]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": [name.encode() for name in NAMES]}))
    dataset = load(Config(data=str(tmp_path)))
    assert np.array_equal(dataset.train.pixels.permute(0, 2, 3, 1).numpy(), images[:12])
    assert np.array_equal(dataset.test.pixels.permute(0, 2, 3, 1).numpy(), images[12:])
    assert dataset.train.labels.tolist() == labels[:12] and dataset.classes == NAMES


def test_batch_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "touched"),)

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(TrainerError, match=r"data_batch_1 is not a CIFAR-10 python batch: it names posix\.mkdir"):
        load(Config(data=str(tmp_path)))
    assert not (tmp_path / "touched").exists()


def test_grey_images_become_rgb(tmp_path, images):
    write_tree(tmp_path, images)
    grey = images[0][:, :, 0]
    Image.fromarray(grey).save(tmp_path / "train" / "ant" / "000.png")
    pixels = load(Config(data=str(tmp_path))).train.pixels[0]
    assert all(np.array_equal(channel.numpy(), grey) for channel in pixels)


def test_limits_pick_the_same_subset_always(tmp_path, images):
    write_tree(tmp_path, images)
    whole, part = (load(Config(data=str(tmp_path), limit_train=limit, limit_test=2)) for limit in (0, 5))
    again = load(Config(data=str(tmp_path), limit_train=5, seed=9))
    assert len(part.train) == 5 and len(part.test) == 2 and torch.equal(part.train.pixels, again.train.pixels)
    everything = {image.numpy().tobytes() for image in whole.train.pixels}
    assert len({image.numpy().tobytes() for image in part.train.pixels} & everything) == 5


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: (f / "train" / "bee" / "001.png").write_bytes(b"junk"), r"cannot decode .*001.png"),
        (lambda f: Image.new("RGB", (8, 9)).save(f / "train" / "bee" / "001.png"), r"001.png is 8x9, others are 32x32"),
        (lambda f: (f / "test").rename(f / "elsewhere"), "holds no test images; expected train/"),
        (lambda f: (f / "train" / "cat").rename(f / "gone"), "test class 'cat' has no training images"),
        (lambda f: (f / "train.zip").write_bytes(b"PK torn"), "train.zip is not a readable zip"),
    ],
)
def test_damaged_data_is_one_clear_line(damage, message, tmp_path, images):
    write_tree(tmp_path, images)
    damage(tmp_path)
    with pytest.raises(TrainerError, match=message) as caught:
        load(Config(data=str(tmp_path)))
    assert str(caught.value).startswith("data: ") and "\n" not in str(caught.value)


def test_drawn_data_is_reproducible_and_varied():
    pixels, labels = draw(40, seed=0)
    assert pixels.shape == (40, 3, 32, 32) and labels.bincount().tolist() == [4] * 10
    assert torch.equal(pixels, draw(40, seed=0)[0]) and not torch.equal(pixels, draw(40, seed=1)[0])
    assert all(image.float().std() > 10 for image in pixels)  # nothing blank
    assert len({image.numpy().tobytes() for image in pixels}) == 40
