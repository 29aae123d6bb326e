"""Tables become data frames, or say why not."""

import sys

import pyarrow as pa
import pytest

from bitlens.errors import InputError
from bitlens.results.frames import framed, selected

TABLE = pa.table({"twin": ["a", "a", "b"], "value": [1.0, None, 3.0]})


def test_rows_are_chosen_by_their_columns() -> None:
    """None chooses nothing."""
    assert selected(TABLE, "it", {"twin": "a"}).num_rows == 2
    assert selected(TABLE, "it", {"twin": None, "site": None}) is TABLE
    with pytest.raises(InputError, match="it has no row whose twin is 'c'"):
        selected(TABLE, "it", {"twin": "c"})
    with pytest.raises(InputError, match="it has no column site"):
        selected(TABLE, "it", {"site": "x"})


def test_a_frame_holds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pandas is absent that is said, and what to do."""
    assert framed(TABLE)["value"].tolist()[::2] == [1.0, 3.0]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pandas is not installed"):
        framed(TABLE)
