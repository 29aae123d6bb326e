"""A whole run of `diff` on a tiny model: what it writes, that it goes on, and what it refuses."""

from pathlib import Path

import pytest

from bitlens.config.study import Study, audit_of
from bitlens.errors import BitlensError
from bitlens.report.diff.page import build, said, told
from bitlens.results.diff.file import read_diff
from bitlens.workflows.diff.dictionaries import DictionarySize
from bitlens.workflows.diff.run import diff
from bitlens.workflows.engines import Here

SIZE = DictionarySize(width="1x", k=2, epochs=2)


def asked(model: Path, texts: Path, sites: tuple[str, ...] = ()) -> Study:
    """Two twins, one of which changes nothing."""
    return audit_of(
        str(model), ["rtn:bits=4", "nothing"], text=str(texts), tokens=1500, controls=("noise",),
        analyses=("behaviour",), sites=sites,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_is_written_shown_and_gone_on_with(
    llama: Path, short_texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every difference with its numbers; the same command again learns nothing anew and writes the
    same; with other settings it is refused."""
    study, out = asked(llama, short_texts), tmp_path / "out"
    diff(study, SIZE, out, "bitlens diff")
    run = read_diff(out)
    found = {(row["twin"], row["of"], row["metric"]): row for row in run["rows"]}
    for of in ("twin", "noise", "random"):
        share = found["rtn:bits=4", of, "explained_dictionary"]["value"]
        assert share is not None
        assert share <= 1
    less = found["rtn:bits=4", "twin", "dictionary_less_noise"]["value"]
    shares = [found["rtn:bits=4", of, "explained_dictionary"]["value"] for of in ("twin", "noise")]
    assert less == pytest.approx(shares[0] - shares[1])
    assert found["nothing", "twin", "explained_dictionary"]["reason"] == (
        "the twin changes nothing here"
    )
    assert all(feature["contexts"] for feature in run["features"])
    assert "Features of the difference" in build(out).read_text(encoding="utf-8")
    assert "rtn:bits=4" in said(out)
    assert len(told(out).rows) == 3
    table = (out / "numbers.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + len(run["rows"])
    assert set(table[0].split(",")) == set(run["rows"][0])
    first = (out / "diff.json").read_bytes()

    def trained(*given: object) -> None:
        pytest.fail("learnt anew")

    monkeypatch.setattr(Here, "trained", trained)
    diff(study, SIZE, out, "bitlens diff")
    assert (out / "diff.json").read_bytes() == first
    with pytest.raises(BitlensError, match="other settings: k 2, not 3"):
        diff(study, DictionarySize(width="1x", k=3, epochs=2), out, "bitlens diff")


def test_what_is_no_output_of_a_block_is_refused(
    llama: Path, short_texts: Path, tmp_path: Path
) -> None:
    """Before anything is compressed; nothing is left behind."""
    with pytest.raises(BitlensError, match=r"names mlp.1"):
        diff(asked(llama, short_texts, ("mlp.1",)), SIZE, tmp_path / "out", "bitlens diff")
    assert not (tmp_path / "out").exists()
