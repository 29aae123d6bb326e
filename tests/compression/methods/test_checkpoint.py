"""How is a checkpoint named?"""

import pytest

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.compression import MatrixGroup
from bitlens.compression.methods.checkpoint import Checkpoint
from bitlens.errors import BitlensError


@pytest.mark.parametrize(
    ("text", "checkpoint"),
    [
        ("checkpoint:./dir", Checkpoint(path="./dir")),
        ("checkpoint:owner/name", Checkpoint(path="owner/name")),
        ("checkpoint:owner/name/file.gguf", Checkpoint(path="owner/name/file.gguf")),
        ("checkpoint:./a=b,run=weights", Checkpoint(path="./a=b", run="weights")),
        ("checkpoint:path=run=a", Checkpoint(path="run=a")),
        ("checkpoint:path=path", Checkpoint(path="path")),
        ("checkpoint:C:/dir,revision=v1", Checkpoint(path="C:/dir", revision="v1")),
        ("checkpoint:./a[1]", Checkpoint(path="./a[1]")),
        ("checkpoint:[./a,b],run=weights", Checkpoint(path="./a,b", run="weights")),
        ("checkpoint:[a,run=b]", Checkpoint(path="a,run=b")),
        ("checkpoint:[[a]]", Checkpoint(path="[a]")),
        ("checkpoint:[a]/[b]", Checkpoint(path="[a]/[b]")),
        ("checkpoint:[[a,b],[c]]", Checkpoint(path="[a,b],[c]")),
    ],
)
def test_the_path_comes_first_without_its_name(text: str, checkpoint: Checkpoint) -> None:
    """Unless it would be read as another setting, and in brackets if it has commas or would lose
    some; either way it reads back as it was."""
    assert format_spec(checkpoint) == text
    assert parse_spec(text) == checkpoint


def test_the_name_may_be_written() -> None:
    """In any place, as every other setting's."""
    assert parse_spec("checkpoint:run=weights,path=./dir") == Checkpoint(
        path="./dir", run="weights"
    )


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("checkpoint", "without path", "text"),
        ("checkpoint:", "without path", "text"),
        ("checkpoint:run=weights", "without path", "text"),
        ("checkpoint:./dir,weights", "'weights' is not a setting", "text with commas in brackets"),
        ("checkpoint:./a]b", "do not pair up", "a [ before every ]"),
        ("checkpoint:[./a", "do not pair up", "a ] for every ["),
        ("checkpoint:./dir,path=./dir", "path is given twice", "one value"),
        ("checkpoint:./dir,run=fast", "run is 'fast'", "auto, kernels, weights"),
        ("checkpoint:./dir,include=[a]", "no setting called 'include'", "path, revision, run"),
        ("checkpoint:,run=auto", "path is ''", "text"),
    ],
)
def test_what_is_wrong_is_named(text: str, found: str, expected: str) -> None:
    with pytest.raises(BitlensError) as error:
        parse_spec(text)
    assert found in error.value.found
    assert expected in error.value.expected


@pytest.mark.parametrize("path", ["./a]b", "[a", "][", " a", ""])
def test_a_path_that_cannot_be_written_down_is_refused(path: str) -> None:
    with pytest.raises(BitlensError, match="brackets pair up") as error:
        Checkpoint(path=path)
    assert repr(path) in error.value.found


def test_nothing_is_compressed() -> None:
    """It has modules of its own; to compress with it is a mistake of the program."""
    with pytest.raises(ValueError, match="modules of its own"):
        Checkpoint(path="./dir").compress(MatrixGroup([], 0))
