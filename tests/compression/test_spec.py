"""The text form of compressions."""

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar, Literal, get_args, get_origin

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.methods.cast import Cast
from bitlens.compression.methods.controls import Noise, Nothing
from bitlens.compression.methods.mixed import Mixed
from bitlens.compression.methods.prune import Prune
from bitlens.compression.methods.rtn import Rtn
from bitlens.compression.spec_settings import (
    DEEPEST,
    Rules,
    check,
    holds_compression,
    settings_of,
    split,
)
from bitlens.errors import BitlensError


@dataclass(frozen=True, kw_only=True)
class Everything(Compression):
    """A compression with a setting of every type; not registered."""

    name: ClassVar[str] = "everything"
    whole: int = 1
    share: float = 0.5
    yes: bool = False
    word: str = "word"
    choice: Literal["a", "b"] = "a"
    maybe: float | None = None
    inner: Compression | None = None

    def __post_init__(self) -> None:
        check(self)

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        return []


@pytest.mark.parametrize(
    ("text", "compression"),
    [
        ("rtn:bits=4,group=64", Rtn(bits=4, group=64)),
        ("nothing", Nothing()),
        ("rtn:bits=3,symmetric=false,clip=mse", Rtn(bits=3, symmetric=False, clip="mse")),
        ("cast:dtype=float8_e4m3fn", Cast(dtype="float8_e4m3fn")),
        ("prune:sparsity=0.25,scope=row", Prune(sparsity=0.25, scope="row")),
        ("prune:pattern=2:4,by=wanda", Prune(pattern="2:4", by="wanda")),
        (
            "prune:match=[rtn:bits=6],on=perplexity",
            Prune(match=Rtn(bits=6), on="perplexity"),
        ),
        ("noise:like=[rtn:bits=4]", Noise(like=Rtn(bits=4))),
        (
            "noise:like=[noise:like=[rtn:bits=2,exclude=[*.o_proj]]]",
            Noise(like=Noise(like=Rtn(bits=2, exclude=("*.o_proj",)))),
        ),
        (
            "rtn:bits=4,exclude=[*.down_proj,*.o_proj]",
            Rtn(bits=4, exclude=("*.down_proj", "*.o_proj")),
        ),
        ("rtn:bits=4,include=[layers.[0-3].*]", Rtn(bits=4, include=("layers.[0-3].*",))),
        (
            "mixed:layers.[0-3].*=[rtn:bits=8],*=[rtn:bits=4,group=64],exclude=[*.o_proj]",
            Mixed(
                rules=(("layers.[0-3].*", Rtn(bits=8)), ("*", Rtn(bits=4, group=64))),
                exclude=("*.o_proj",),
            ),
        ),
    ],
)
def test_written_and_read(text: str, compression: Compression) -> None:
    """The canonical text of a compression is the expected one, and reads back as it."""
    assert format_spec(compression) == text
    assert parse_spec(text) == compression


def test_canonical_order_spaces_and_defaults() -> None:
    """Other orders, spaces, defaults written out and short spellings are read, and not written."""
    assert (
        format_spec(parse_spec(" rtn: group=0 ,exclude=[ a , b ], bits=4 "))
        == "rtn:bits=4,exclude=[a,b]"
    )
    assert format_spec(parse_spec("cast:dtype=bf16")) == "cast:dtype=bfloat16"
    mixed = parse_spec("mixed: exclude = [ a ] , b = [ rtn: bits=8 ], * = [rtn:bits=4] ")
    assert format_spec(mixed) == "mixed:b=[rtn:bits=8],*=[rtn:bits=4],exclude=[a]"
    assert format_spec(Prune(sparsity=5e-7)) == "prune:sparsity=5e-07"


@pytest.mark.parametrize(
    ("text", "found", "expected", "remedy"),
    [
        ("rtm:bits=4", "no compression called 'rtm'", "rtn", "rtn"),
        ("rtn:bit=4", "no setting called 'bit'", "bits, group", "Did you mean bits"),
        ("rtn:bits=four", "bits is 'four'", "a whole number", "rtn:bits=4"),
        ("rtn:bits=4.0", "bits is '4.0'", "a whole number", "rtn:bits=4"),
        ("rtn:bits=9", "bits is 9", "2 to 8", "rtn:bits=4"),
        ("rtn:bits=4,symmetric=yes", "symmetric is 'yes'", "true or false", "symmetric=true"),
        ("rtn:bits=4,scope=rows", "scope is 'rows'", "row, tensor", "scope=row"),
        ("rtn:bits=4,exclude=*.o_proj", "exclude is", "in brackets", "exclude=["),
        ("rtn:bits=4,exclude=[a,,b]", "exclude is", "in brackets", "exclude=["),
        ("rtn:bits=4,exclude=[a", "do not pair up", "]", "["),
        ("rtn:bits=4,exclude=a]", "do not pair up", "]", "["),
        ("rtn:bits=4,exclude=[a]b[c]", "do not pair up", "]", "["),
        ("rtn:bits=4,bits=5", "bits is given twice", "one value", "bits=5"),
        ("rtn:4", "'4' is not a setting", "setting=value", "rtn:bits=4"),
        ("rtn:bits=4,", "'' is not a setting", "setting=value", "rtn:bits=4"),
        ("rtn", "without bits", "a whole number", "rtn:bits=4"),
        ("noise:like=rtn:bits=4", "like is 'rtn:bits=4'", "in brackets", "[rtn:bits=4]"),
        ("noise:like=[rtn:bits=1]", "bits is 1", "2 to 8", "rtn:bits=4"),
        ("noise:like=[nothing],exclude=[a]", "no setting called 'exclude'", "like", "like"),
        ("prune:sparsity=nan", "sparsity is nan", "finite", "sparsity=0.5"),
        ("prune:sparsity=none", "sparsity is 'none'", "finite", "sparsity=0.5"),
        ("prune:match=rtn:bits=6", "match is 'rtn:bits=6'", "in brackets", "[rtn:bits=4]"),
        ("mixed", "mixed is given without rules", "patterns, each", "mixed:*.fc1=[rtn:bits=8],*=["),
        ("mixed:*=rtn:bits=4", "rules is '*=rtn:bits=4'", "in brackets", "*=[rtn:bits=4]"),
        ("mixed:rtn", "rules is 'rtn'", "in brackets", "*=[rtn:bits=4]"),
        ("mixed:*=[rtm:bits=4]", "no compression called 'rtm'", "rtn", "rtn"),
        ("mixed:include=[a],*=[rtn:bits=4]", "no setting called 'include'", "exclude", "exclude"),
        ("prune", "no sparsity, pattern or match", "one of", "prune:sparsity=0.5"),
        ("prune:sparsity=1", "sparsity is 1.0", "below 1", "prune:sparsity=0.5"),
        ("INT4", "'INT4' is no compression", "its name here", "rtn:bits=4,group=128"),
        ("w4a16", "is no compression", "rtn", "gptq:bits=4,group=128"),
        ("4-bit", "is no compression", "rtn", "rtn:bits=4,group=128"),
        ("W8A8", "is no compression", "rtn", "smoothquant"),
        ("GGUF:Q4_K_M", "is no compression", "rtn", "gguf:mix=q4_k_m"),
        ("Q6_K", "is no compression", "rtn", "gguf:mix=q6_k, or gguf:type=q6_k"),
        ("Q4_K", "is no compression", "rtn", "gguf:mix=q4_k_m, or gguf:type=q4_k"),
        ("gguf", "neither type nor mix", "one of them", "gguf:mix=q4_k_m"),
        ("gguf:IQ2_XS", "is no compression", "rtn", "checkpoint:FILE.gguf"),
        ("gguf:Q4_0", "is no compression", "rtn", "gguf:type=q4_0"),
        ("BF16", "is no compression", "rtn", "cast:dtype=bfloat16"),
        ("./twin", "is no compression", "rtn", "checkpoint:PATH"),
        ("RTN:bits=4", "no compression called 'RTN'", "rtn", "Did you mean rtn"),
        ("checkpoint:a\udce9", "no UTF-8", "written down", "rename"),
        ("noise:like=[" * 3000, "brackets more than 8 deep", "compression", "noise:like="),
        ("", "no compression called ''", "rtn", "bitlens list"),
    ],
)
def test_errors_name_what_was_found(text: str, found: str, expected: str, remedy: str) -> None:
    """A text that cannot be read says what was met, what would have worked and what to type."""
    with pytest.raises(BitlensError) as error:
        parse_spec(text)
    assert found in error.value.found
    assert expected in error.value.expected
    assert remedy in error.value.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("whole", True),
        ("whole", 1.0),
        ("share", True),
        ("share", float("inf")),
        ("yes", 1),
        ("word", "a]b"),
        ("word", " a"),
        ("choice", "c"),
        ("choice", None),
        ("share", None),
        ("maybe", float("nan")),
        ("maybe", "0.5"),
        ("inner", "rtn:bits=4"),
        ("include", ("[[]",)),
        ("include", ("",)),
        ("include", "*"),
    ],
)
def test_python_is_held_to_the_same_rules(name: str, value: object) -> None:
    """A value that could not be read back is refused when the compression is made in Python."""
    with pytest.raises(BitlensError, match=re.escape(f"{name} is {value!r}")):
        Everything(**{name: value})


def test_equal_compressions_have_one_text() -> None:
    """A share given as a whole number is written as the number it equals."""
    assert Everything(share=1) == Everything(share=1.0)
    assert (
        format_spec(Everything(share=1))
        == format_spec(Everything(share=1.0))
        == "everything:share=1.0"
    )


def test_what_is_left_out_is_not_written() -> None:
    """A setting whose default is None has the type of its other values, and None is no text."""
    types = {setting.name: setting.type for setting in settings_of(Everything).values()}
    assert types["maybe"] is float
    assert holds_compression(types["inner"])
    assert Everything(maybe=None, inner=None) == Everything()
    assert format_spec(Everything()) == "everything"
    assert format_spec(Everything(maybe=0.0, inner=Rtn(bits=4))) == (
        "everything:maybe=0.0,inner=[rtn:bits=4]"
    )


def test_split_keeps_brackets_together() -> None:
    """Commas inside brackets do not part pieces."""
    assert split("a=[b,[c,d]], e=f") == ["a=[b,[c,d]]", "e=f"]
    assert split("") == []


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Every value of a setting's type, and some it may not have."""
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if kind == tuple[str, ...]:
        return st.lists(st.text("ab.*?[],= ", max_size=5), max_size=3).map(tuple)
    if holds_compression(kind):
        return st.deferred(compressions)
    if kind == Rules:
        patterns = st.sampled_from(["*", "*.fc1", "layers.[0-3].*"]) | st.text(
            "ab.*=[] ", max_size=5
        )
        return st.lists(st.tuples(patterns, st.deferred(compressions)), max_size=3).map(tuple)
    if kind is str:
        return st.text("ab=/[],: ", max_size=5) | st.sampled_from(
            ["path", "run=a", "path=run=a", "2:4"]
        )
    return {int: st.integers(0, 9), float: st.floats(0, 1), bool: st.booleans()}[kind]


def compressions() -> st.SearchStrategy[Compression]:
    """Every registered compression, with every setting drawn."""

    def drawn(name: str) -> st.SearchStrategy[Compression]:
        cls = COMPRESSIONS[name]
        kinds = {
            s.name: st.none() | values(s.type) if s.default is None else values(s.type)
            for s in settings_of(cls).values()
        }
        return st.fixed_dictionaries(kinds).map(lambda chosen: (cls, chosen))

    def made(chosen: tuple[type[Compression], dict[str, Any]]) -> Compression:
        try:
            compression = chosen[0](**chosen[1])
        except BitlensError:
            reject()
        # What is deeper cannot be read; to hear it from the parser takes minutes to shrink.
        depths = accumulate((sign == "[") - (sign == "]") for sign in format_spec(compression))
        assume(max(depths) <= DEEPEST)
        return compression

    return st.sampled_from(list(COMPRESSIONS)).flatmap(drawn).map(made)


@pytest.mark.slow
@settings(max_examples=150)
@given(compressions())
def test_every_compression_reads_back(compression: Compression) -> None:
    """parse(format(c)) == c and format is stable, whatever the compression and its settings."""
    text = format_spec(compression)
    assert parse_spec(text) == compression
    assert format_spec(parse_spec(text)) == text
    assert hash(parse_spec(text)) == hash(compression)
