"""Calibration documents: how they are read, and the checks that they are enough and are apart from
the evaluation."""

from collections.abc import Collection
from dataclasses import dataclass

from bitlens.compression import format_spec
from bitlens.compression.compression import Compression
from bitlens.data.contamination import contamination
from bitlens.data.corpus import Corpus, check_vocabulary, make_corpus
from bitlens.data.texts import Documents, read_texts
from bitlens.data.tokenisation import Bos
from bitlens.errors import DataError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.results.counts import count
from bitlens.results.records import CALIBRATION, Check


def calibrated(compression: Compression) -> Compression | None:
    """The compression that must be calibrated for this one: itself, or what noise is matched to;
    None where no data is needed."""
    return compression.base if compression.base.statistics else None


@dataclass(frozen=True, kw_only=True)
class CalibrationTexts:
    """The texts that compressions are calibrated on, and how they are read."""

    source: str | Documents | None
    """A file or `hf:` dataset, or the documents themselves; None where nobody named any."""
    context: int
    """Tokens a window."""
    bos: Bos
    tokens: int
    """At most so many; 0: all."""
    allow_overlap: bool = False
    """Whether they may share documents with the evaluation."""

    def read(self, asking: Compression, loaded: Loaded, layout: Layout, seed: int) -> Corpus:
        """The documents as the model reads them. BitlensError where none are named."""
        if self.source is None:
            raise DataError(
                f"{format_spec(asking)} is calibrated, and no calibration documents are named.",
                "documents like those the model is for, apart from those it is measured on.",
                "--calibration FILE",
            )
        tokens = self.tokens or None
        texts = self.source if isinstance(self.source, Documents) else read_texts(self.source)
        corpus = make_corpus(
            texts,
            loaded.tokenizer,
            context=self.context,
            bos=self.bos,
            max_tokens=tokens,
            seed=seed,
        )
        check_vocabulary(corpus, layout.vocabulary)
        return corpus


def read_for_calibration(corpus: Corpus) -> str:
    """What calibrated methods read, for the page."""
    return (
        f"Calibrated compressions read {count(corpus.n_documents, 'document')} of "
        f"{corpus.name}, {corpus.n_tokens:,} tokens (sha256 {corpus.token_hash[:12]})."
    )


def about_overlap(calibration: Corpus, evaluation: Corpus, allowed: bool) -> Check:
    """Are the two apart? DataError where they are not and `allowed` does not say that they may
    be."""
    shared = contamination(calibration, evaluation)
    name = "calibration and evaluation are apart"
    if not shared.names:
        return Check(
            name,
            passed=True,
            detail=f"{calibration.name} ({calibration.n_tokens:,} tokens) against "
            f"{evaluation.name}: no document has a tenth or more in shared runs of {shared.run} "
            "tokens" + (f"; {shared.passing} share less (licences, say)" if shared.passing else ""),
            bears_on=CALIBRATION,
        )
    found = (
        f"{len(shared.names)} of {evaluation.n_documents} evaluation documents "
        f"({shared.share:.0%}) share a tenth or more of their tokens, in runs of {shared.run}, "
        "with the calibration documents"
    )
    if not allowed:
        raise DataError(
            f"{found}, the first {shared.names[0]}.",
            "calibration documents that are not evaluated: what was calibrated on them looks "
            "better than it is.",
            "another --calibration FILE or --text, or --allow overlap in an audit "
            "where this is intended.",
        )
    return Check(name, passed=False, detail=f"{found}, which was allowed", bears_on=CALIBRATION)


def about_size(corpus: Corpus, layout: Layout, names: Collection[str]) -> Check:
    """Is there a token for every input column of the matrices of these names? With fewer, second
    moments have directions that nothing was seen of."""
    columns = {example.name: example.weight.shape[-1] for example in layout.examples()}
    widths = {name: width for name, width in columns.items() if name in names}
    widest = max(widths, key=widths.__getitem__)
    enough = corpus.n_tokens >= widths[widest]
    detail = (
        f"calibrated on {corpus.n_tokens:,} tokens of {corpus.name}; {widest}, the widest matrix, "
        f"has {widths[widest]:,} input columns"
    )
    if not enough:
        detail += ": how its inputs go together cannot be known from fewer tokens than columns"
    return Check("enough calibration tokens", enough, detail, bears_on=CALIBRATION)
