"""Names to classes, and what was probably meant."""

from pathlib import Path

import pytest

from bitlens.analyses import ANALYSES
from bitlens.compression.compression import COMPRESSIONS
from bitlens.errors import BitlensError
from bitlens.registry import Registry, nearest_file


@pytest.mark.parametrize("registry", [COMPRESSIONS, ANALYSES], ids=lambda r: r.kind)
def test_every_file_that_registers_is_known(registry: Registry[object]) -> None:
    """By name before it is loaded: a method that is written and not listed could not be chosen."""
    for name in registry:
        assert registry[name].name == name  # type: ignore[attr-defined]
    homes = {"compression": "compression/methods", "analysis": "analyses"}
    folder = Path(__file__).parents[1] / "src" / "bitlens" / homes[registry.kind]
    texts = [path.read_text() for path in folder.rglob("*.py")]
    assert sum(text.count("S.register(") for text in texts) == len(list(registry))


def test_a_name_is_taken_once() -> None:
    """By another class, or by a file of ours that is not loaded yet."""
    registry: Registry[type] = Registry("thing", "none", {"a": "json"})
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("a")(int)
    registry.register("b")(int)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("b")(str)
    assert (list(registry), "b" in registry, "c" in registry) == (["a", "b"], True, False)
    with pytest.raises(BitlensError, match=r"no thing called 'B'(.|\n)*Did you mean b\?"):
        registry.require("B")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("text.jsonl", "Did you mean texts.jsonl?"),
        ("texts.json", "Did you mean texts.jsonl?"),
        ("Texts.jsonl", "Did you mean texts.jsonl?"),
        ("nofile.txt", ""),
        ("nope", ""),
    ],
)
def test_a_file_is_meant_by_a_letter_or_two(tmp_path: Path, name: str, meant: str) -> None:
    """Not by its ending or some letters in common."""
    for neighbour in ("texts.jsonl", "notes.txt", "home", "node-modules"):
        (tmp_path / neighbour).touch()
    assert nearest_file(tmp_path / name) == meant
    assert nearest_file(tmp_path / "none" / name) == ""
