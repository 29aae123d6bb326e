"""The README shows two pictures of the page, of what the script says it takes."""

import re
from pathlib import Path
from urllib.parse import parse_qs

from bitlens.report.audit import open_run
from tests.support.audit_stores import write_store
from tools.readme_pictures import PICTURES, WORST_FIRST, worst_feature

README = PICTURES.parents[1] / "README.md"


def test_the_pictures_are_there() -> None:
    """Both, as PNG, none larger than a page should load."""
    shown = re.findall(r"^!\[.+\]\((docs/pictures/.+)\)$", README.read_text(), re.MULTILINE)
    files = {README.parent / name for name in shown}
    assert {path.name for path in files} == {"first-screen.png", "feature.png"}
    for path in files:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < 400_000


def test_the_feature_is_the_worst_that_has_texts(tmp_path: Path) -> None:
    """Of the twin with the worst word."""
    audit = open_run(write_store(tmp_path / "results", ("demo",), deep=True))
    place = {key: value[0] for key, value in parse_qs(worst_feature(audit)[1:]).items()}
    words = audit.verdict
    assert words[place["twin"]] == next(word for word in WORST_FIRST if word in words.values())
    rows = audit.features(place["twin"]).set_index(["sae", "latent"])["r"]
    texts = audit.details(place["twin"], "features", "contexts").to_pylist()
    with_texts = sorted({(row["sae"], row["latent"]) for row in texts})
    assert (place["sae"], int(place["feature"])) == rows.loc[with_texts].dropna().idxmin()
