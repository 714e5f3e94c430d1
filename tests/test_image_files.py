"""Folders and zips of image files: pixels against Pillow's, damaged ones skipped, counted and named, by workers too."""

import io
import os
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import needs_native
from PIL import Image
from test_transforms import replayed_by_torchvision, to_pillow
from torch.utils.data import DataLoader

import dssl_ops.image_files
from dssl_ops import ImageFiles
from dssl_ops import transforms as T

RNG = np.random.default_rng(0)
SCENE = Image.fromarray(RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((61, 47), Image.Resampling.BICUBIC)


def saved(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


CORRUPT = "is truncated, corrupt or no image"
JPEG = saved(SCENE, quality=90)
GOOD = {
    "cat/grey.JPEG": saved(SCENE.convert("L").crop((0, 0, 30, 20))),
    "cat/plain.jpg": JPEG,
    "cat/progressive.jpeg": saved(SCENE, progressive=True),
    "cat/really a png.jpg": saved(SCENE, "PNG"),
    "dog/cmyk.jpg": saved(SCENE.convert("CMYK")),
    "dog/deeper/bitmap.bmp": saved(SCENE, "BMP"),
    "dog/palette.png": saved(SCENE.convert("P"), "PNG"),
    "dog/see through.png": saved(SCENE.convert("LA"), "PNG"),
    "dog/small.webp": saved(SCENE.crop((3, 3, 9, 5)), "WEBP", lossless=True),
    "élan/one.gif": saved(SCENE, "GIF"),
    "élan/table.tiff": saved(SCENE, "TIFF"),
}
BAD = {
    "cat/cut in the middle.jpg": (JPEG[: len(JPEG) // 2], CORRUPT),
    "cat/cut at the end.jpg": (JPEG[:-2], CORRUPT),
    "cat/empty.jpg": (b"", CORRUPT),
    "dog/a letter.jpg": (b"Dear reader,", CORRUPT),
    "dog/bomb.png": (saved(Image.new("1", (20000, 15000)), "PNG"), "is too large"),
    "dog/cut.png": (saved(SCENE, "PNG")[:200], CORRUPT),
    "dog/cut.webp": (saved(SCENE, "WEBP")[:200], CORRUPT),
    "dog/long.png": (saved(Image.new("1", (40000, 1)), "PNG"), "is too large"),
    "élan/noise.jpg": (JPEG[:300] + RNG.bytes(500), CORRUPT),
}
OTHERS = {"cat/notes.txt": b"no image, and not named as one", "README": b""}


def written(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def zipped(place, files):
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"top/{name}", data)
    return place


ALL = {**GOOD, **{name: data for name, (data, _) in BAD.items()}, **OTHERS}


@pytest.fixture(params=["folder", "zip"])
def place(request, tmp_path):
    return written(tmp_path / "top", ALL) if request.param == "folder" else zipped(tmp_path / "top.zip", ALL)


def by_pillow(data):
    return Image.fromarray(np.array(Image.open(io.BytesIO(data)).convert("RGB")))


def short(path):
    return path.removeprefix("top/")


@pytest.mark.parametrize("torchvision", [True, False])
def test_pixels_and_labels_are_pillow_s(place, torchvision, monkeypatch):
    if not torchvision:
        monkeypatch.setattr(dssl_ops.image_files, "_torchvision", lambda: None)
    files = ImageFiles(place)
    assert files.classes == ("cat", "dog", "élan") and len(files) == len(GOOD) + len(BAD)
    read = {short(files.path(i)): files[i] for i in range(len(files))}
    for name, data in GOOD.items():
        image, label = read[name]
        assert to_pillow(image) == by_pillow(data), name
        assert image.dtype == torch.uint8 and image.shape[0] == 3 and files.classes[label] == name.split("/")[0]


def test_damaged_files_are_skipped_counted_and_named(place, caplog):
    files = ImageFiles(place)
    for _ in range(2):  # twice, and yet each is named once
        read = {short(files.path(i)): files[i] for i in range(len(files))}
    assert {name for name, (image, _) in read.items() if image is None} == set(BAD)
    assert {short(path): reason for path, reason in files.skipped.items()} == {
        name: reason for name, (_, reason) in BAD.items()
    }
    assert len(caplog.records) == len(BAD)
    for name, (_, reason) in BAD.items():
        assert sum(f"{name} in " in line and f"which {reason}: " in line for line in caplog.messages) == 1, name


VIEWS = T.MultiView(T.StandardView(16), 2)


@needs_native
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_from_files_to_views_in_workers(tmp_path, context):
    """The batch shrinks by what cannot be read; the parent learns of it; views are those of Pillow's pipeline."""
    functional = pytest.importorskip("torchvision.transforms.functional")
    files = ImageFiles(written(tmp_path, ALL))
    loader = DataLoader(
        T.Indexed(files), 5, num_workers=2, collate_fn=T.Collate(VIEWS, seed=6), multiprocessing_context=context
    )
    batches = list(loader)
    assert len(files.skipped) == len(BAD) and sum(len(labels) for _, labels in batches) == len(GOOD)
    got, labels = (torch.cat(parts, dim=-4 if parts[0].dim() > 3 else 0) for parts in zip(
        *((torch.stack(list(views)), labels) for views, labels in batches)
    ))  # fmt: skip
    kept = [i for i in range(len(files)) if files.path(i) in GOOD]
    assert torch.equal(labels, files.labels[kept])
    for place, index in enumerate(kept):
        image = by_pillow(GOOD[files.path(index)])
        steps = VIEWS.sample([(image.height, image.width)], seed=6, sample_ids=[index]).steps(0)
        middle = steps.index(("Source", ()))
        for view, part in enumerate((steps[:middle], steps[middle + 1 :])):
            expected = replayed_by_torchvision(functional, image, part)
            assert to_pillow(got[view, place]) == expected, (files.path(index), view)


def test_a_wrong_checksum_in_a_zip_is_noticed(tmp_path):
    """In a folder the same bytes may pass: the decoder repairs what it can, as Pillow's does."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.jpg", JPEG)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(JPEG[-200:-100]) + 50] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    files = ImageFiles(tmp_path / "a.zip")
    assert files[0] == (None, 0) and files.skipped == {"x.jpg": CORRUPT} and files.classes == ("a",)


def test_no_bytes_are_fatal(tmp_path, monkeypatch, caplog):
    """Every good file cut anywhere and with wrong bytes in its head and body: an image or a reason, nothing else."""
    rng, read = np.random.default_rng(1), Counter()
    monkeypatch.setattr(dssl_ops.image_files, "MAX_PIXELS", 1 << 20)
    for name, data in GOOD.items():
        for _ in range(60):
            wrong = bytearray(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.3 else data)
            for place in rng.integers(0, rng.choice([min(60, len(wrong)), len(wrong)]), rng.integers(1, 6)):
                wrong[place] = rng.integers(256)
            (tmp_path / "x.jpg").write_bytes(wrong)
            image, _ = ImageFiles(tmp_path)[0]
            assert image is None or (image.dtype == torch.uint8 and image.dim() == 3 and image.shape[0] == 3), name
            read[image is not None] += 1
    assert min(read[True], read[False]) > 100


def test_files_that_are_gone_or_huge_are_skipped(tmp_path, monkeypatch):
    files = ImageFiles(written(tmp_path, {"a.jpg": JPEG, "b.jpg": JPEG, "c.jpg": JPEG[:90]}))
    Path(tmp_path / "a.jpg").unlink()
    monkeypatch.setattr(dssl_ops.image_files, "MAX_BYTES", 100)
    assert [files[i][0] for i in range(3)] == [None] * 3
    assert files.skipped == {"a.jpg": "cannot be read", "b.jpg": "is too large", "c.jpg": CORRUPT}


def test_one_file_a_part_of_a_place_and_given_classes(place, tmp_path):
    alone = ImageFiles(written(tmp_path / "alone", {"x.jpg": JPEG}) / "x.jpg")
    assert len(alone) == 1 and alone.classes == ("x",) and to_pillow(alone[0][0]) == by_pillow(JPEG)
    top = "top/" if place.suffix else ""
    dogs = ImageFiles(place, f"{top}dog", classes=("wolf", "deeper", "dog"))
    assert {short(dogs.path(i)) for i in range(len(dogs))} == {name for name in ALL if name.startswith("dog/")}
    assert sorted(set(dogs.labels.tolist())) == [1, 2]
    with pytest.raises(ValueError, match=r"ImageFiles: class 'dog' in .* is none of the 2 given"):
        ImageFiles(place, classes=("cat", "élan"))


def test_links_are_followed_but_never_round_in_circles(tmp_path):
    elsewhere = written(tmp_path / "elsewhere", {"n01/a.jpg": JPEG, "n01/b.jpg": JPEG})
    root = written(tmp_path / "train", {"n02/c.jpg": JPEG})
    (root / "n01").symlink_to(elsewhere / "n01")
    (root / "n02" / "up").symlink_to(root)
    (root / "n02" / "dead.jpg").symlink_to(tmp_path / "nowhere")
    files = ImageFiles(root)
    names = [files.path(i) for i in range(len(files))]
    assert names == ["n01/a.jpg", "n01/b.jpg", "n02/c.jpg", "n02/dead.jpg"] and files.classes == ("n01", "n02")
    assert [files[i][0] is None for i in range(4)] == [False, False, False, True]


def test_a_folder_that_cannot_be_read_is_an_error_and_a_pipe_is_no_image(tmp_path, monkeypatch):
    root = written(tmp_path, {"n01/a.jpg": JPEG, "n02/b.jpg": JPEG})
    os.mkfifo(root / "n01" / "pipe.jpg")
    files = ImageFiles(root)
    assert files[1][0] is None and files.skipped == {"n01/pipe.jpg": "cannot be read"}
    scan = os.scandir

    def refuse(place):
        if os.path.basename(place) == "n02":
            raise PermissionError(f"no permission for {place}")
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="n02"):
        ImageFiles(root)


def test_16_bits_become_8(tmp_path):
    values = RNG.integers(0, 1 << 16, (5, 6), dtype=np.uint16)
    files = ImageFiles(written(tmp_path, {"deep.png": saved(Image.fromarray(values), "PNG")}))
    assert torch.equal(files[0][0], torch.from_numpy((values >> 8).astype(np.uint8)).expand(3, 5, 6))


def test_pickled_files_read_on(place):
    files = ImageFiles(place)
    files[0]
    again = pickle.loads(pickle.dumps(files))
    assert torch.equal(again[len(files) - 1][0], files[len(files) - 1][0]) and again.classes == files.classes


def test_places_without_images_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        ImageFiles(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"ImageFiles: no image \(.jpg, .*\) below "):
        ImageFiles(written(tmp_path, {"a.txt": b""}))
    (tmp_path / "b.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"ImageFiles: .*b.zip is no zip that can be read"):
        ImageFiles(tmp_path / "b.zip")
