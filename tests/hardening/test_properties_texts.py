"""Texts and files from anywhere: what was written comes back, anything else is one line of error; nothing is run."""

import dataclasses
import io
import json
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from dssl_trainer import checkpoint
from dssl_trainer.config import Config, as_dict, from_dict, override
from dssl_trainer.errors import TrainerError
from dssl_trainer.record import read_record
from hypothesis import example, given
from hypothesis import strategies as st

from dssl_ops import Program, ViewGraph
from dssl_ops import transforms as T
from dssl_ops.image_files import _Bad, decode

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
POLICIES = (
    "RA(2,5)+Jigsaw(4)",
    "Choice(0.9*RA(2,5,op_set=ra14), 0.1*Jigsaw(4))",
    "RandomApply((UA, Solarize(128, p=0.2)), 0.5)",
    "StandardView(32, jitter=(0.4, 0.4, 0.4, 0.1))",
    "Compose((GaussianBlur((0.1, 2.0)), -1))",
    "__import__('os')",
    "RA(*x)",
)
RECORD = json.dumps({"settings": as_dict(Config()), "origin": {}, "versions": {}, "data": ""})
PROGRAM = Program.from_steps([[("Rotate", (3, 0)), ("Jigsaw", (1, 0, 2, 3))], [("Invert", ())]], (8, 6)).to_json()


@st.composite
def changed(draw, texts):
    """One of the texts with a few places cut out, doubled or replaced."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 6))
        piece = draw(
            st.one_of(
                st.just(text[at : at + length] * 2),
                st.text(max_size=4) if isinstance(text, str) else st.binary(max_size=4),
            )
        )
        text = text[:at] + piece + text[at + length :]
    return text


@given(text=st.one_of(changed(POLICIES), st.text(max_size=40)), op_set=st.sampled_from((None, "author16", "ra14", "x")))
@example(text="(" * 3000, op_set=None)
@example(text="-" * 3999 + "1", op_set=None)
@example(text="RA" + "+RA" * 1300, op_set=None)
def test_a_policy_is_a_transform_or_one_line(text, op_set):
    try:
        made = T.policy(text, op_set)
    except ValueError as error:
        assert str(error).split(":")[0] in ("policy", *T.__all__), error
        return
    assert isinstance(made, T.Transform) and (len(repr(made)) > 4000 or T.policy(repr(made)) == made)


def same_program(program):
    assert Program.from_json(program.to_json()).to_json() == program.to_json()


def program_or_one_line(text):
    try:
        program = Program.from_json(text)
    except ValueError as error:
        assert str(error).startswith("Program: ") and "\n" not in str(error), error
    else:
        same_program(program)


@given(text=st.one_of(changed([PROGRAM]), json_values.map(json.dumps), st.text(max_size=30)))
@example(text="[" * 5000)
@example(text='{"size": [8, 8], "views": 1e400, "programs": []}')
@example(text='{"size": [8, 8], "views": "1", "programs": [[["Invert", []]]]}')
@example(text='{"size": [8, 8], "views": 1, "programs": {"a": 1}}')
@example(text='{"size": [8.5, 8], "views": 1, "programs": [[["Invert", []]]]}')
@example(text='{"size": [8, 8], "views": 1, "programs": [[[["Invert"], []]]]}')
def test_json_is_a_program_or_one_line(text):
    program_or_one_line(text)


def test_json_with_broken_numbers_is_refused():
    for good, broken in (("[8, 6]", "[8.5, 6]"), ('"views": 1', '"views": 1.0'), ('"views": 1', '"views": null')):
        assert good in PROGRAM
        with pytest.raises(ValueError, match=r"Program: views must be in 1..64, height and width in 1..32768; got"):
            Program.from_json(PROGRAM.replace(good, broken))


@given(
    size=json_values, views=json_values, programs=st.one_of(json_values, st.lists(st.lists(st.tuples(st.sampled_from(
    ("Invert", "Jigsaw", "Emit", "Rotate", "?")), json_values), max_size=3), max_size=3)),
)  # fmt: skip
def test_json_of_the_right_keys_is_a_program_or_one_line(size, views, programs):
    text = json.dumps({"size": size, "views": views, "programs": programs})
    program_or_one_line(text)


@given(edges=st.one_of(json_values, st.lists(st.tuples(json_values, json_values, json_values), max_size=3)))
def test_a_graph_is_one_or_one_line(edges):
    try:
        graph = ViewGraph(edges)
    except ValueError as error:
        assert str(error).startswith("ViewGraph: "), error
        return
    assert hash(graph) == hash(ViewGraph(list(graph.edges))) and len(str(graph).split(",")) >= len(graph.edges)


@given(values=st.dictionaries(st.sampled_from([field.name for field in dataclasses.fields(Config)] + ["x"]),
       st.one_of(json_values, st.sampled_from(("small", "toy", "RA", 1, 2.0, [4, 4]))), max_size=3))  # fmt: skip
def test_settings_are_a_config_or_one_line(values):
    for make in (
        lambda: from_dict(values, "config.json"),
        lambda: override(Config(), {k: str(v) for k, v in values.items()}),
    ):
        try:
            config = make()
        except TrainerError as error:
            assert str(error)
        else:
            assert from_dict(json.loads(json.dumps(as_dict(config))), "") == config


@lru_cache
def saved():
    """A checkpoint's bytes, of a state as small as one can be."""
    state = {
        "config": as_dict(Config()),
        "progress": {"step": 3},
        "model": {"w": torch.ones(2, 3)},
        "optimizer": {"state": {}},
    }
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@st.composite
def damaged(draw, data):
    """The bytes with a few of them changed, cut off or repeated."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("set", "set", "cut", "drop", "repeat"))):
            case "set":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 60))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 60))]
    return bytes(data)


@given(data=st.deferred(lambda: st.one_of(damaged(saved()), st.binary(max_size=200))))
def test_a_damaged_checkpoint_is_one_line(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        path.write_bytes(data)
        module = torch.nn.Module()
        module.register_buffer("w", torch.zeros(2, 3))
        try:
            state = checkpoint.load(path)
            checkpoint.load_weights(module, state["model"], path)
            from_dict(state["config"], path)
        except TrainerError as error:
            assert str(path) in str(error) and "\n" not in str(error), error


@given(text=st.one_of(changed([RECORD]), json_values.map(json.dumps)),
       log=st.one_of(st.text(max_size=40), changed(["step,loss\n1,2.5\n2,nan\n"])))  # fmt: skip
def test_a_damaged_record_is_one_line(text, log):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        (Path(folder) / "log.csv").write_text(log, encoding="utf-8", errors="surrogatepass")
        try:
            read_record(folder)
        except TrainerError as error:
            assert str(error)


@lru_cache
def pictures():
    """The bytes of one small picture in every format that is read."""
    from PIL import Image

    files = []
    for form in ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF"):
        file = io.BytesIO()
        Image.radial_gradient("L").resize((9, 7)).convert("RGB").save(file, form)
        files.append(file.getvalue())
    return files


@given(data=st.deferred(lambda: st.one_of(st.sampled_from(pictures()).flatmap(damaged), st.binary(max_size=100))))
def test_a_damaged_picture_is_skipped_or_read(data):
    try:
        image = decode(data)
    except _Bad as bad:
        assert bad.args[0] in (1, 2, 3)
    else:
        assert image.dtype == torch.uint8 and image.dim() == 3 and image.shape[0] == 3
