"""`dssl views`: the pictures on the page are the engine's, the words are the program's, and errors take one line."""

import pytest
import torch
from checks import needs_native
from dssl_trainer.cli import main
from dssl_trainer.reports import gallery
from dssl_trainer.reports.page import ACROSS, Panel, rows_of
from dssl_trainer.reports.scene import scene
from dssl_trainer.reports.words import told
from PIL import Image

from dssl_ops import image_op
from dssl_ops.program import VALUE_NAMES
from dssl_ops.transforms import DirectedViews, StandardView

POLICIES = [
    "RA(2,5)+Jigsaw(4)",
    "UA",
    "Choice(0.9*RA(2,5), 0.1*Jigsaw(4))",
    "RA(14,9,ra14)",
    "RandomResizedCrop(32)+RA",
]


@needs_native
@pytest.mark.parametrize("policy", POLICIES)
def test_lanes_lead_from_the_image_through_every_step_to_the_heavy_view(policy):
    views = DirectedViews(StandardView.byol(32), gallery.policy(policy))
    image, number = scene(), 7
    made, program = views(image, seed=4, sample_ids=number), views.sample(image, seed=4, sample_ids=number)
    first, second = gallery.lanes_of(views, "scene", image, 4, number)
    assert torch.equal(first[0].picture, image) and second[0] is None and len(first[0].boxes) == 2
    words = [told(*step) for step in program.steps(0) if step[0] not in ("Emit", "Source")]
    for lane, light, heavy in ((first, made.v, made.heavy), (second, made.v_prime, made.heavy_prime)):
        assert torch.equal(lane[1].picture, light) and torch.equal(lane[-1].picture, heavy)
        said = [line for panel in lane[1:] for line in panel.caption.split("\n") if line != "no step drawn: the same"]
        assert said == words[: len(said)]
        del words[: len(said)]
    assert not words


def test_operations_are_shown_at_their_magnitudes(tmp_path, monkeypatch):
    pages = []
    monkeypatch.setattr(gallery, "save", lambda out, groups, *words, **options: pages.append(groups))
    gallery.draw(None, "x.png", "", None, None, "author16", 0, 1, "all")
    rows = {group[0][0].title: group[0] for group in pages[0]}
    assert len(rows) == 16 and len(rows["Invert"]) == 2 and len(rows["Color"]) == 1 + len(gallery.MAGNITUDES)
    picture = rows["Color"][0].picture
    for m, panel in zip(gallery.MAGNITUDES, rows["Color"][1:], strict=True):
        assert panel.title == f"m = {m}" and panel.caption == f"Color x {0.1 + 0.06 * m:.2f}"
        assert torch.equal(panel.picture, image_op(picture[None], "Color", m / 30 * 1.8 + 0.1)[0])
    assert [panel.caption for panel in rows["TranslateX"][3:5]] == [
        "TranslateX 16.7 px left",
        "TranslateX 30.0 px left",
    ]


SAID = {
    "Posterize": ((1,), "Posterize to 1 bit"),
    "Rotate": ((-16.0, 0), "Rotate 16.0° right"),
    "Jigsaw": ((3, 1, 0, 2), "Jigsaw 2x2: 3 1 0 2"),
    "ResizedCrop": ((5, 7, 20, 30, 32, 33, 2, 13), "ResizedCrop 30x20 at 7, 5 to 33x32"),
    "Cutout": ((3, 4, 15, 16), "Cutout 12x12 at 3, 4"),
    "Equalize": ((), "Equalize"),
    "Hue": ((0.05,), "Hue +0.050"),
    "TranslateY": ((-3.25, 0), "TranslateY 3.2 px down"),
}


@pytest.mark.parametrize("name", VALUE_NAMES)
def test_every_step_has_words(name):
    values, words = SAID.get(name, ([0.5] * (4 if name == "Jigsaw" else len(VALUE_NAMES[name])), None))
    assert told(name, values).startswith(name) and (words is None or told(name, values) == words)


def test_long_lanes_go_on_below():
    panels = [Panel(torch.zeros(3, 1, 1), str(k), "") for k in range(30)]
    rows = rows_of([panels])
    assert [panel for row, _ in rows for panel in row if panel] == panels
    assert all(len(row) <= ACROSS for row, _ in rows) and [last for _, last in rows] == [False, False, True]


def test_images_of_a_folder_are_spread_and_the_unreadable_stood_in_for(tmp_path, caplog):
    for k in range(9):
        Image.new("RGB", (5 + k, 4)).save(tmp_path / f"{k}.png")
    assert [name for name, _ in gallery.images_of(str(tmp_path), 3)] == ["0.png", "3.png", "6.png"]
    (tmp_path / "3.png").write_bytes(b"")
    assert [name for name, _ in gallery.images_of(str(tmp_path), 3)] == ["0.png", "6.png", "1.png"]
    assert len(gallery.images_of(str(tmp_path), 20)) == 8 and "3.png" in caplog.text


@pytest.fixture
def folder(tmp_path):
    """Two images, named to trip matplotlib's mathematics, and one that cannot be read."""
    Image.fromarray(scene().permute(1, 2, 0).numpy()).crop((0, 0, 300, 90)).save(tmp_path / "a $x_ wide.png")
    Image.new("L", (20, 60), 90).save(tmp_path / "tall_$\\frac.png")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return tmp_path


@pytest.mark.parametrize("options", [
    ["--policy", "UA", "--op-set", "author16", "--seed", "3"], ["--standard", "byol", "--size", "40"],
    ["--standard", "RA+RandomResizedCrop((30, 50))"], ["--op", "Rotate"], ["--policy", "RA(30,5)", "--images", "1"],
], ids=" ".join)  # fmt: skip
def test_writes_a_page(folder, options, capsys):
    out = folder / "new" / "page.png"
    assert main(["views", str(folder), "--out", str(out), *options]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Image.open(out) as page:
        assert min(page.size) > 200 and len(page.convert("RGB").getcolors(1 << 24)) > 50
    assert not list(out.parent.glob("*.tmp"))


def test_needs_no_image_and_the_same_call_gives_the_same_page(tmp_path):
    pages = [tmp_path / name for name in ("a.png", "b.png")]
    for page in pages:
        assert main(["views", "--policy", "RA", "--out", str(page)]) == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()


ERRORS = [
    (["nowhere"], "No such file or directory: 'nowhere"),
    (["."], "ImageFiles: no image ("),
    (["torn.jpg"], "no image in torn.jpg can be read"),
    (["--policy", "RA(2,5"], "policy: '(' was never closed"),
    (["--policy", "RB"], "policy: expected RA, UA"),
    (["--policy", "Jigsaw(99)"], "Jigsaw: grid must be in 1..64; got 99"),
    (["--standard", "cifar"], "policy: expected RA, UA"),
    (["--standard", "RandomResizedCrop(32)", "--size", "32"], "--size goes with --standard cifar10, imagenet, byol"),
    (["--size", "0"], "--size: expected 1 or more; got 0"),
    (["--op-set", "timm"], "op_set must be one of author16, ra14, ua15; got 'timm'"),
    (["--op", "Rotat"], "--op: expected all or one of AutoContrast, "),
    (["--op", "all", "--op-set", "timm"], "--op-set: expected one of author16, ra14, ua15; got 'timm'"),
    (["--images", "0"], "--images: expected 1 or more; got 0"),
    (["--seed", "-99999999999999999999"], "transforms: seed must be a whole number"),
    (["--out", "page.xyz"], "--out: expected a file that ends in "),
    (["--policy", "RA(700,5)"], "take fewer images or steps"),
]


@pytest.mark.parametrize("arguments, message", ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_errors_take_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "torn.jpg" in arguments:
        (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    before = sorted(tmp_path.iterdir())
    assert main(["views", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dssl views: ") and message in said and said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
