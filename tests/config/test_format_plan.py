"""A plan is read back as it was written, and whatever is wrong in one is said with its line."""

from pathlib import Path
from typing import Any

import pytest

from bitlens.compression import format_spec, parse_spec
from bitlens.compression.patterns import targets
from bitlens.config.format_plan import FormatPlan, PlannedUnit, as_mixed, read_plan, write_plan
from bitlens.config.study import audit_of
from bitlens.errors import BitlensError

DOWN, UP = "model.layers.{}.mlp.down_proj", "model.layers.{}.mlp.up_proj"


def plan(**changes: Any) -> FormatPlan:
    """Two blocks: the last down_proj at 8 bits, the first as it is, the rest at 4."""
    units = {
        "block 0, up": PlannedUnit(format="rtn:group=64,bits=4", matrices=(UP.format(0),)),
        "block 1, up": PlannedUnit(format="rtn:bits=4,group=64", matrices=(UP.format(1),)),
        "block 0, down": PlannedUnit(format="keep", matrices=(DOWN.format(0),)),
        "block 1, down": PlannedUnit(format="rtn:bits=8", matrices=(DOWN.format(1),)),
        "no": PlannedUnit(format="keep", matrices=("lm_head",)),
    }
    given = {"model": "gpt2", "run": "out/ä", "measure": "kl", "budget": 4.5, "bits": 4.4375}
    return FormatPlan(**{**given, "effect": -1e-7, "units": units, **changes})


def test_a_plan_is_read_back(tmp_path: Path) -> None:
    """Small numbers, names that YAML takes for something else, and formats in canonical text."""
    path = tmp_path / "new" / "plan.yaml"
    write_plan(plan(), path)
    assert read_plan(path) == plan()
    assert read_plan(path).units["block 0, up"].format == "rtn:bits=4,group=64"
    assert f"\n# {as_mixed(plan())}\n" in path.read_text(encoding="utf-8")


def test_a_study_takes_the_file_of_a_plan(tmp_path: Path) -> None:
    """As the mixture that it is, for the model it was made for; whatever is wrong in it is said
    as of any other file."""
    path = tmp_path / "plan.yaml"
    write_plan(plan(), path)
    assert audit_of("gpt2", str(path)).compressions == (as_mixed(plan()),)
    with pytest.raises(BitlensError, match=r"There is no nowhere\.yaml"):
        audit_of("gpt2", "nowhere.yaml")
    with pytest.raises(BitlensError, match="was made for gpt2; the model is bitlens-demo"):
        audit_of("demo", str(path))


def test_a_plan_is_a_mixture() -> None:
    """Every matrix gets its format there, and what is kept is excluded or not matched."""
    text = as_mixed(plan())
    assert text == "mixed:1.mlp.down_proj=[rtn:bits=8],up_proj=[rtn:bits=4,group=64]"
    mixed, matrices = parse_spec(text), list(plan().formats)
    taken = targets(matrices, matrices[:4], mixed)
    found = {name: format_spec(mixed.part_for(name)) for name in taken}
    assert found == {name: one for name, one in plan().formats.items() if one != "keep"}


def test_a_plan_that_keeps_everything_has_no_twin(tmp_path: Path) -> None:
    """And is not written."""
    kept = plan(units={"a": PlannedUnit(format="keep", matrices=("m.0.x",))})
    with pytest.raises(BitlensError, match="stay as they are"):
        write_plan(kept, tmp_path / "plan.yaml")
    assert not list(tmp_path.iterdir())


UNIT = "units:\n  a: {format: nf4, matrices: [m.0.x]}\n"
REST = "model: m\nrun: r\nmeasure: kl\nbudget: 4.5\nbits: 4\neffect: 0.1\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (REST, r"plan.yaml has no units"),
        (REST + "units: []", r"has no units"),
        (REST + "units:\n  a: nf4\n", r"line 8: units.a is 'nf4'"),
        (
            REST + UNIT.replace("format", "fromat"),
            r"line 8: units.a.fromat is not a setting.*format",
        ),
        (
            REST + UNIT.replace("nf4", "nf5"),
            r"units.a.format: There is no compression called 'nf5'",
        ),
        (REST + UNIT.replace("nf4", "nothing"), r"units.a.format: mixed: \* is to be nothing"),
        (REST + UNIT.replace("[m.0.x]", "m.0.x"), r"units.a.matrices is 'm.0.x'"),
        (REST + UNIT.replace("[m.0.x]", "[]"), r"units.a.matrices is not given"),
        (REST + UNIT.replace("[m.0.x]", "[m.0.x, m.0.x]"), r"m.0.x is given twice"),
        (REST + UNIT + "  b: {format: keep, matrices: [m.0.x]}", r"m.0.x is of two units, a and b"),
        (REST.replace("bits: 4", "bits: .nan") + UNIT, r"bits is nan"),
        (REST.replace("budget: 4.5", "budget: 0") + UNIT, r"budget is 0"),
        (REST.replace("model: m\n", "") + UNIT, r"model is not given"),
        (REST.replace("measure", "mesure") + UNIT, r"line 3: mesure is not a setting.*measure"),
        (REST + "model: n\n" + UNIT, r"model is given twice"),
        ("- a\n", r"Expected: a plan in YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    """With the line, where there is one, and what was probably meant."""
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BitlensError, match=f"(?s){said}"):
        read_plan(path)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    """A plan of ten thousand matrices is smaller than a mebibyte."""
    path = tmp_path / "plan.yaml"
    path.write_text("#" * (1 << 20) + "\n" + REST + UNIT, encoding="utf-8")
    with pytest.raises(BitlensError, match="bytes"):
        read_plan(path)
