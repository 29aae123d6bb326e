"""A hub that does not answer is said within seconds."""

import time

import pytest
from huggingface_hub import constants

from bitlens.errors import BitlensError
from bitlens.models.configuration import configuration
from bitlens.models.hub import require_answer
from bitlens.models.source import ModelSource


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub where nobody listens, asked although the tests are offline."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.usefixtures("nowhere")
def test_a_model_that_cannot_be_had_is_said_at_once() -> None:
    """In our words, and without the library's half minute of tries."""
    started = time.perf_counter()
    with pytest.raises(BitlensError, match="could not be had from the hub: no connection") as told:
        configuration(ModelSource("nobody/misspelt"))
    assert time.perf_counter() - started < 10
    assert told.value.remedy.startswith("check the spelling and the network")


@pytest.mark.usefixtures("nowhere")
def test_the_embedded_model_misspelt_is_recognised() -> None:
    """It is the first thing that anybody types."""
    with pytest.raises(BitlensError, match="dmeo is no folder here") as told:
        configuration(ModelSource("dmeo"))
    assert told.value.remedy == "Did you mean demo?"


@pytest.mark.usefixtures("nowhere")
def test_what_is_in_the_cache_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a name that no repository can have."""
    require_answer("no/such/name", "config.json")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: "here")
    require_answer("nobody/misspelt", "config.json")


def test_offline_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is all there is."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    require_answer("nobody/misspelt", "config.json")
