"""Every implementation takes and gives what its op's schema says, in its order: the dispatcher's stack has no types."""

import re

import pytest

from dssl_ops import _build

TYPES = {
    "Tensor": "Tensor",
    "Tensor[]": "std::vector<Tensor>",
    "Tensor?": "std::optional<Tensor>",
    "int": "int64_t",
    "int[]": "std::vector<int64_t>",
    "float": "double",
    "float[]": "std::vector<double>",
    "bool": "bool",
    "Tensor(a!)": "Tensor",
}
FILES = sorted(path for end in ("cpu", "cuda") for path in _build.SOURCE_ROOT.glob(f"*/*_{end}.cpp"))
SOURCES = {path: re.sub(r'"\s*"', "", path.read_text()) for path in FILES}  # a schema may stand in several literals
SCHEMAS = dict(re.findall(r'm\.def\(\s*"(\w+)(\([^"]*)"', "".join(SOURCES.values())))
IMPLEMENTED = [
    pytest.param(path, op, function, id=f"{path.stem}-{op}")
    for path, text in SOURCES.items()
    for op, function in re.findall(r'm\.impl\("(\w+)", dssl::boxed<&dssl::\w+::(\w+)>\)', text)
]


def split(listed):
    return [part.strip() for part in re.split(r",(?![^<]*>)", listed) if part.strip()]


def wanted(schema):
    """Result and arguments of (Type name, ...) -> Type, or -> (Type name, ...)."""
    arguments, results = re.fullmatch(r"\((.*)\) -> (.*)", schema).groups()
    results = [TYPES[part.split()[0]] for part in split(results.strip("()"))]
    result = results[0] if len(results) == 1 else f"std::tuple<{', '.join(results)}>" if results else "void"
    return result, [(TYPES[part.split()[0]], part.split()[1].partition("=")[0]) for part in split(arguments)]


@pytest.mark.parametrize("path, op, function", IMPLEMENTED)
def test_implementation_fits_its_schema(path, op, function):
    text = " ".join(re.sub(r"/\*.*?\*/", "", SOURCES[path]).split())
    result, arguments = re.search(rf"([\w:]+(?:<[^;{{]*>)?) {function}\(([^)]*)\) \{{", text).groups()
    taken = [re.fullmatch(r"(?:const )?(.*?)&?(?: (\w+))?", part).groups() for part in split(arguments)]
    expected, parameters = wanted(SCHEMAS[op])
    assert result == expected
    assert [kind for kind, _ in taken] == [kind for kind, _ in parameters]
    assert all(name in (None, known) for (_, name), (_, known) in zip(taken, parameters))  # what is unused has none


def test_every_op_has_its_implementations():
    listed = [(path.stem.rpartition("_")[2], op) for path, op, _ in (parameter.values for parameter in IMPLEMENTED)]
    assert len(listed) == len(set(listed))
    assert {op for device, op in listed if device == "cpu"} == set(SCHEMAS)
    drawn = {"augment_sample", "augment_drawn"}  # by the host
    assert {op for device, op in listed if device == "cuda"} == set(SCHEMAS) - drawn
    assert sum(text.count("m.impl(") for text in SOURCES.values()) == len(IMPLEMENTED)
