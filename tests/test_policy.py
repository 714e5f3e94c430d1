"""Policies as text: what each one means, round trips, and one clear line for whatever else is typed."""

import random

import pytest

from dssl_ops import transforms as T
from dssl_ops.transforms import policy

RA, JIGSAW = T.RandAugment(2, 5), T.Jigsaw(4)
MEANINGS = {
    "RA(2,5)+Jigsaw(4)": T.Compose((RA, JIGSAW)),
    " RA + UA + JigSaw ": T.Compose((T.RandAugment(), T.UniformAugment(), T.Jigsaw())),
    "UA": T.UniformAugment(),
    "UA(3, op_set=ra14)": T.UniformAugment(3, "ra14"),
    "randaugment(m=9, n=1, interpolation='bilinear')": T.RandAugment(1, 9, interpolation="bilinear"),
    "RA(8,16)+Jigsaw(4,p=0.1)": T.Compose((T.RandAugment(8, 16), T.Jigsaw(4, 0.1))),
    "Choice(0.9*RA(2,5), 0.1*Jigsaw(4))": T.Choice.ra_or_jigsaw(),
    "Choice(RA, UA)": T.Choice((RA, T.UniformAugment())),
    "Choice(RA+Jigsaw, UA)": T.Choice((T.Compose((RA, JIGSAW)), T.UniformAugment())),
    "Choice((RA, UA), (0.3, 0.7))": T.Choice((RA, T.UniformAugment()), (0.3, 0.7)),
    "(RA+Jigsaw)+Solarize(128,p=.2)": T.Compose((RA, JIGSAW, T.Solarize(128, 0.2))),
    "RandomApply((GaussianBlur((0.1, 2)), Grayscale(1)), 0.5)": T.RandomApply(
        (T.GaussianBlur((0.1, 2)), T.Grayscale(1)), 0.5
    ),
    "ColorJitter(0.4, 0.4, 0.4, hue=(-0.1, 0.1), p=0.8)": T.ColorJitter(0.4, 0.4, 0.4, (-0.1, 0.1), 0.8),
    "StandardView(32) + RA(n=2,m=5)": T.Compose((T.StandardView(32), RA)),
}


@pytest.mark.parametrize("text", MEANINGS)
def test_text_means_the_transform(text):
    assert policy(text) == MEANINGS[text]


@pytest.mark.parametrize("text", MEANINGS)
def test_repr_is_a_policy_too(text):
    assert policy(repr(MEANINGS[text])) == MEANINGS[text]


def test_op_set_is_that_of_every_term_which_names_none():
    given = policy("RA(2,5)+UA+RA(1,3,op_set=ua15)+Choice(0.5*RA, 0.5*Jigsaw)", op_set="ra14")
    sets = [given.transforms[0].op_set, given.transforms[1].op_set, given.transforms[2].op_set]
    assert sets == ["ra14", "ra14", "ua15"] and given.transforms[3].transforms[0].op_set == "ra14"
    assert policy("UA").op_set == "ua15" and policy("RA").op_set == "author16"


ERRORS = [
    ("", r"policy: .*at character \d+ of ''"),
    ("RA(2,5", r"policy: .*never closed.* at character 3 of 'RA\(2,5'"),
    ("RB(2,5)", r"policy: expected one of RA, UA, RandAugment, .*; got 'RB\(2,5\)' in 'RB\(2,5\)'"),
    ("RB", r"policy: expected RA, UA, .*; got 'RB'"),
    ("RA+RB", r"policy: expected one of RA, .*; got 'RB' in 'RA\+RB'"),
    ("RA-Jigsaw", r"policy: expected terms such as RA\(2,5\) joined by \+; got 'RA-Jigsaw'"),
    ("0.9*RA", r"policy: expected terms .*; got '0.9\*RA'"),
    ("3", r"policy: expected RA, UA, .*; got '3'"),
    ("RA(2,5,6,7,8,9)", r"policy: RandAugment takes n, m, op_set, interpolation, p: too many positional arguments"),
    ("RA(k=3)", r"policy: RandAugment takes n, m, .*: got an unexpected keyword argument 'k' in 'RA\(k=3\)'"),
    ("RA(2,99)", r"RandAugment: m must be in \[0, 30\]; got 99"),
    ("RA(2,5,op_set=timm)", r"RandAugment: op_set must be one of author16, ra14, ua15; got 'timm'"),
    ("Jigsaw(-4)", r"Jigsaw: grid must be in 1..64; got -4"),
    ("Jigsaw(-RA)", r"policy: expected a number after -; got '-RA'"),
    ("Choice(0.9*RA, Jigsaw)", r"policy: expected a probability before every term of Choice or none"),
    ("Choice(0.9*RA, 0.2*Jigsaw)", r"Choice: probabilities must be 2 numbers that add up to 1; got \(0.9, 0.2\)"),
    ("Choice(RA*0.9, Jigsaw*0.1)", r"policy: expected probability\*transform; got 'RA\*0.9'"),
    ("RandomResizedCrop", r"policy: RandomResizedCrop takes size, .*: missing a required argument: 'size'"),
    ("Jigsaw(*RA)", r"policy: expected no \*; got '\*RA'"),
    ("Jigsaw(**RA)", r"policy: expected no \*\*; got"),
    ("__import__('os').system('ls')", r"policy: expected terms such as"),
    ("[RA for x in y]", r"policy: expected terms such as"),
    ("+".join(["RA"] * 2000), r"policy: at most 4000 characters; got 5999"),
    ("-" * 3900 + "1", r"policy: "),
    ("(" * 1900 + "RA" + ")" * 1900, r"policy: "),
    ("RA(9" + "9" * 3000 + ")", r"RandAugment: n must be in 1..2048|policy: "),
]


@pytest.mark.parametrize("text, message", ERRORS, ids=[text[:30] for text, _ in ERRORS])
def test_wrong_text_gives_one_clear_line(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        policy(text)
    assert "\n" not in str(caught.value)


def test_only_text_is_parsed():
    with pytest.raises(ValueError, match=r"policy: expected text such as 'RA\(2,5\)\+Jigsaw\(4\)'; got RandAugment"):
        policy(RA)


ODD = [
    "Grayscale(p='x')", "GaussianBlur(((1,2),3))", "StandardView(32, jitter=((1,),2,3,4))", "RA(2,5,[])",
    "Compose((1,2))", "Choice(transforms=RA)", "Choice((RA,UA), probabilities=3)", "Jigsaw(True)", "RA(1e400)",
    "Choice((RA,UA), probabilities=('a','b'))", "RA(2, 'x')", "Solarize(None)", "StandardView('a')", "RA(2,5,RA)",
    "RandomResizedCrop(32, scale=(RA, 1))", "ColorJitter(((0,),1))", "RandomResizedCrop(32, interpolation=(1,(2,)))",
    "StandardView(32, jitter=3)", "RandomApply(((RA,),), 1)", "RA(2,5,pil=RA)", "RandomResizedCrop(32,pil_compat=(1,))",
]  # fmt: skip
WORDS = (
    *("RA", "UA", "Jigsaw", "Choice", "Compose", "RandomApply", "ColorJitter", "GaussianBlur", "StandardView", "ra14"),
    *("Solarize", "RandomResizedCrop", "(", ")", "(", ")", ",", "+", "*", "-", "=", "p", "m", "1", "0.5", "1e400"),
    *("'a'", "None", "True", "[", "]", "lambda", ".", "b''", "1j", "{", "}", "\n", "\0", "f''", "é", "9" * 400),
)


@pytest.mark.parametrize("text", ODD)
def test_odd_arguments_end_in_a_value_error(text):
    with pytest.raises(ValueError):
        policy(text)


def test_any_text_is_a_transform_or_a_value_error():
    draw, kinds = random.Random(0), set()
    for _ in range(4000):
        text = "".join(draw.choices(WORDS, k=draw.randrange(1, 9)))
        try:
            kinds.add(type(policy(text)))
        except ValueError as error:
            kinds.add(ValueError)
            assert str(error), text
    assert {ValueError, T.RandAugment, T.UniformAugment} <= kinds
