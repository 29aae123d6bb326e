"""A loaded model of a study and the texts that it reads."""

from collections.abc import Callable
from pathlib import Path

from bitlens.compression import parse_spec
from bitlens.compression.calibration.documents import CalibrationTexts
from bitlens.compression.requests import requested_twins
from bitlens.compression.twin import Twin
from bitlens.compression.twin_builder import BuiltTwins, TwinBuilder
from bitlens.config.study import Study
from bitlens.data.corpus import Corpus, check_vocabulary, make_corpus
from bitlens.data.hub import PREFIX
from bitlens.data.texts import read_texts
from bitlens.demo import calibration_path, evaluation_path
from bitlens.engine.plan import context_of
from bitlens.errors import BitlensError
from bitlens.models.layout import Layout
from bitlens.models.load import Loaded, free_memory, load


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


def calibration_texts(study: Study, context: int, measured: bool = True) -> CalibrationTexts:
    """What a study calibrates on: what was named; for the texts that ship with bitlens, those that
    ship with them. Where nothing is `measured` the text is nobody's choice and says nothing."""
    source = study.calibration
    if source is None and measured and study.texts == str(evaluation_path()):
        source = str(calibration_path())
    return CalibrationTexts(
        source=source,
        context=context,
        bos=study.bos,
        tokens=study.calibration_tokens,
        allow_overlap="overlap" in study.allow,
    )


def say_unread(study: Study, log: Callable[[str], None]) -> None:
    """Are calibration documents named that nothing will read? An error where they are not there:
    a misspelt name would be found out only when something is calibrated."""
    source = study.calibration
    if source in (None, str(calibration_path())) or _asks_for_data(study):
        return
    if not source.startswith(PREFIX) and not Path(source).expanduser().exists():
        read_texts(source)
    log(f"Nothing is calibrated here: {source} is not read.")


def _asks_for_data(study: Study) -> bool:
    return any(one.statistics for text in study.compressions for one in parse_spec(text).nested())


def load_whole(study: Study) -> tuple[Loaded, Layout]:
    """The model of a study of one, in memory."""
    (source,) = study.models
    loaded = load(source, free_memory(source))
    if loaded.offloaded:
        raise BitlensError(
            f"{loaded.name} takes {loaded.weight_bytes / 1e9:.1f} GB, more than there is room for.",
            "room for the model and a copy of it.",
            "a machine with more memory, or --dtype bfloat16.",
        )
    return loaded, Layout(loaded.model, loaded.compute)


def build_twin(study: Study, log: Callable[[str], None]) -> tuple[TwinBuilder, BuiltTwins, Twin]:
    """The twin of a study of one model and one compression, with nothing to be measured."""
    loaded, layout = load_whole(study)
    for note in loaded.notes:
        log(note)
    longest = getattr(layout.config, "max_position_embeddings", None)
    context = context_of(study.context, loaded.name, longest)
    builder = TwinBuilder(
        loaded=loaded,
        trust_remote_code=study.models[0].trust_remote_code,
        layout=layout,
        texts=calibration_texts(study, context, measured=False),
        evaluation=None,
        seed=study.seeds[0],
        memory=free_memory(study.models[0]),
        log=log,
    )
    built = builder.build(requested_twins(study.compressions, study.controls, layout))
    (twin,) = built.twins.values()
    return builder, built, twin
