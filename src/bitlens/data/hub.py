"""Texts of Hugging Face datasets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bitlens.data.files import Document
from bitlens.data.rows import check_column, from_column
from bitlens.errors import DataError, told

PREFIX = "hf:"
FORM = "hf:OWNER/NAME[:CONFIG][:SPLIT][:COLUMN]"
_OLDEST = 4
"""Versions before this one can run code that a dataset brings along."""


@dataclass(frozen=True)
class HubSource:
    """`hf:Salesforce/wikitext:wikitext-2-raw-v1:test`, taken apart; empty parts are left open."""

    path: str
    """`owner/name`, or a local folder."""
    config: str | None = None
    split: str | None = None
    column: str = "text"

    @classmethod
    def parse(cls, source: str) -> "HubSource":
        """The text form's parts. DataError where it has others."""
        path, *rest = source.removeprefix(PREFIX).split(":")
        if not path or len(rest) > 3:
            raise DataError(
                f"{source!r} does not name a dataset.",
                FORM,
                "hf:Salesforce/wikitext:wikitext-2-raw-v1:test",
            )
        config, split, column = [*rest, "", "", ""][:3]
        return cls(path, config or None, split or None, column or "text")


def read_hub(source: str) -> list[Document]:
    """The rows of one split, through the `datasets` library; code of a dataset is never run."""
    wanted = HubSource.parse(source)
    datasets = _library()
    split = wanted.split or _only_split(datasets, wanted, source)
    with _asking(source):
        table = datasets.load_dataset(wanted.path, name=wanted.config, split=split)
    check_column(table.column_names, wanted.column, source)
    return from_column(table[wanted.column], source)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            "Hugging Face datasets are read with the library 'datasets', which is not installed.",
            f"datasets {_OLDEST} or newer.",
            "pip install datasets",
        ) from error
    if int(datasets.__version__.split(".")[0]) < _OLDEST:
        raise DataError(
            f"The library 'datasets' is version {datasets.__version__}, which can run a "
            "dataset's own code.",
            f"datasets {_OLDEST} or newer.",
            "pip install --upgrade datasets",
        )
    return datasets


def _only_split(datasets: Any, wanted: HubSource, source: str) -> str:
    with _asking(source):
        splits: list[str] = datasets.get_dataset_split_names(wanted.path, wanted.config)
    if len(splits) > 1:
        raise DataError(
            f"{source} has the splits {', '.join(splits)}.",
            "the split to read.",
            f"{PREFIX}{wanted.path}:{wanted.config or ''}:{splits[-1]}",
        )
    return splits[0]


@contextmanager
def _asking(source: str) -> Iterator[None]:
    """Turns whatever the library or the network says into an error that can be acted on."""
    try:
        yield
    except Exception as error:
        raise DataError(
            f"{source} cannot be loaded: {told(error)}.",
            f"a dataset that this machine can reach, as {FORM}.",
            "check the name, configuration and split; gated ones need HF_TOKEN.",
        ) from error
