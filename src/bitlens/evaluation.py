"""Which texts is a model measured on?"""

from bitlens.data.corpus import Corpus, check_vocabulary, make_corpus
from bitlens.data.texts import read_texts
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded
from bitlens.plan import context_of
from bitlens.study import Study


def evaluation(study: Study, loaded: Loaded, layout: Layout, seed: int) -> Corpus:
    """A study's texts as one of its models reads them."""
    longest = getattr(layout.config, "max_position_embeddings", None)
    corpus = make_corpus(
        read_texts(study.texts),
        loaded.tokenizer,
        context_of(study.context, loaded.name, longest),
        study.bos,
        study.tokens or None,
        seed,
    )
    check_vocabulary(corpus, layout.vocabulary)
    return corpus
