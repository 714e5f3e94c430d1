"""Data readers: the same images through every layout give the same bytes."""

import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from dssl_trainer.config import Config
from dssl_trainer.data import load
from dssl_trainer.data.drawn import draw
from dssl_trainer.errors import TrainerError
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


def zip_of(path, folder):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("above", ["", "cifar10"])
def test_one_zip_of_the_tree(above, tmp_path, images):
    write_tree(tmp_path / "tree" / above, images)
    expect(load(Config(data=str(zip_of(tmp_path / "some.zip", tmp_path / "tree")))), images)


@pytest.mark.parametrize("zipped", [False, True])
def test_what_macos_adds_is_no_image(zipped, tmp_path, images):
    write_tree(tmp_path / "tree", images)
    (tmp_path / "tree" / "train" / "ant" / "._000.png").write_bytes(b"resource fork")
    path = tmp_path / "tree"
    if zipped:
        fork = path / "__MACOSX" / "train" / "ant" / "000.png"
        fork.parent.mkdir(parents=True)
        fork.write_bytes(b"resource fork")
        path = zip_of(tmp_path / "some.zip", path)
    expect(load(Config(data=str(path))), images)


def test_undecodable_zip_members_are_one_line_that_names_the_archive(tmp_path, images):
    write_tree(tmp_path / "tree", images)
    (tmp_path / "tree" / "train" / "bee" / "001.png").write_bytes(b"junk" * 200)
    path = zip_of(tmp_path / "some.zip", tmp_path / "tree")
    found = failure(path)
    assert found == f"data: cannot decode train/bee/001.png in {path}: not an image that Pillow knows"
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("train/bee/001.png")
        start = info.header_offset + 30 + len(info.filename)
    content = bytearray(path.read_bytes())
    content[start : start + info.compress_size] = b"\xff" * info.compress_size  # no deflate stream: zlib.error
    path.write_bytes(content)
    assert failure(path).startswith(f"data: cannot decode train/bee/001.png in {path}: Error -3")


def failure(path):
    with pytest.raises(TrainerError) as caught:
        load(Config(data=str(path)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_images_larger_than_pillow_allows_are_one_line(tmp_path, images, monkeypatch):
    write_tree(tmp_path, images)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "cannot decode" in failure(tmp_path) and "exceeds limit" in failure(tmp_path)


@pytest.mark.parametrize("split, size", [("train", (40, 40)), ("train", (32, 30)), ("test", (40, 40))])
def test_images_of_another_size_than_the_views_are_refused(split, size, tmp_path, images):
    write_tree(tmp_path, images)
    for path in (tmp_path / split).glob("*/*"):
        Image.new("RGB", size).save(path)
    assert failure(tmp_path) == f"data: {split} images are {size[0]}x{size[1]}, but image_size is 32"


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("protocol", [2, 5])  # the real files are protocol 2
def test_python_batches(inner, protocol, tmp_path, images):
    labels = write_batches(tmp_path / inner, images, protocol)
    dataset = load(Config(data=str(tmp_path)))
    assert np.array_equal(dataset.train.pixels.permute(0, 2, 3, 1).numpy(), images[:12])
    assert np.array_equal(dataset.test.pixels.permute(0, 2, 3, 1).numpy(), images[12:])
    assert dataset.train.labels.tolist() == labels[:12] and dataset.classes == NAMES
    assert dataset.test.labels.tolist() == labels[12:] and dataset.test.labels.dtype == torch.int64


def write_batches(folder, images, protocol=2):
    folder.mkdir(exist_ok=True)
    flat = images.transpose(0, 3, 1, 2).reshape(18, 3072)
    labels = [i % 3 for i in range(18)]
    edges = {f"data_batch_{i + 1}": edge for i, edge in enumerate([(0, 3), (3, 5), (5, 8), (8, 10), (10, 12)])}
    for name, (first, last) in (edges | {"test_batch": (12, 18)}).items():
        write_pickle(folder / name, {b"data": flat[first:last], b"labels": labels[first:last]}, protocol)
    write_pickle(folder / "batches.meta", {b"label_names": [name.encode() for name in NAMES]})
    return labels


def write_pickle(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))


ROWS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {b"data": ROWS[:, :100], b"labels": [0, 1]},
        {b"data": ROWS.astype(np.float32), b"labels": [0, 1]},
        {b"data": ROWS, b"labels": None},
        {b"data": ROWS, b"labels": [0]},
        {b"data": ROWS, b"labels": [0, 3]},
        {b"data": ROWS, b"labels": [0, -1]},
        {b"data": ROWS[:0], b"labels": []},
        {b"labels": [0, 1]},
    ],
)
@pytest.mark.parametrize("name", ["data_batch_2", "test_batch"])
def test_damaged_python_batches_are_one_line(name, content, tmp_path, images):
    write_batches(tmp_path, images)
    write_pickle(tmp_path / name, content)
    assert failure(tmp_path).startswith(f"data: {tmp_path / name} is not a CIFAR-10 python batch: ")


@pytest.mark.parametrize("content", [[1], {b"label_names": 3}, {b"label_names": ["text"]}, {}])
def test_damaged_class_names_are_one_line(content, tmp_path, images):
    write_batches(tmp_path, images)
    write_pickle(tmp_path / "batches.meta", content)
    assert failure(tmp_path).startswith(f"data: {tmp_path / 'batches.meta'} holds no class names: ")


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_3", "test_batch"])
def test_missing_batch_is_refused(name, tmp_path, images):
    write_batches(tmp_path, images)
    (tmp_path / name).unlink()
    assert failure(tmp_path) == f"data: {tmp_path} lacks {name}"


@pytest.mark.parametrize("damage", [b"", b"junk", b"cnumpy\nnothing\n."])
def test_torn_batch_is_one_line(damage, tmp_path, images):
    write_batches(tmp_path, images)
    (tmp_path / "test_batch").write_bytes(damage)
    assert "test_batch is not a CIFAR-10 python batch: " in failure(tmp_path)


def test_batch_that_would_run_code_is_refused(tmp_path, images):
    write_batches(tmp_path, images)

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
