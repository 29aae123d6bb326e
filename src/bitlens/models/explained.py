"""transformers' many errors as one that says what to do."""

import re
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from huggingface_hub.constants import HF_HUB_CACHE

from bitlens.errors import BitlensError, CapacityError, ModelError, told
from bitlens.models.source import EMBEDDED, ModelSource
from bitlens.registry import nearest, nearest_file

_NO_ROOM = ("no space left", "file too large", "quota exceeded", "read-only file system")
"""What the system says, whichever library hands it on."""


def guarded(source: ModelSource, action: Any) -> Any:
    """The action, with whatever it raises explained."""
    try:
        return action()
    except BitlensError:
        raise
    except Exception as error:
        said = told(error)
        if any(words in said.lower() for words in _NO_ROOM):
            raise CapacityError(
                f"The weights of {source.name} cannot be kept on disk: {said}.",
                f"room for them: what is downloaded goes to {HF_HUB_CACHE}, blocks that do not fit "
                f"into memory may go to {gettempdir()}.",
                "HF_HOME or TMPDIR=a folder with room, or more --memory.",
            ) from error
        # safetensors raises a class of its own for files that are cut short.
        if type(error).__module__.startswith("safetensors") or "Safetensor" in str(type(error)):
            raise ModelError(
                f"The weights of {source.name} cannot be read: {told(error)}.",
                "whole safetensors files.",
                "compare their sizes with the original's and fetch them again.",
            ) from error
        raise _explained(source, error) from error


def _explained(source: ModelSource, error: Exception) -> BitlensError:
    text, said = told(error), " ".join(str(error).split())
    if "trust_remote_code" in said:
        return ModelError(
            f"{source.name} comes with code of its own.",
            "a model that transformers knows; code from a model is run only when asked for.",
            "read that code, then --trust-remote-code.",
        )
    if "gated" in said.lower() or re.search(r"\b40[13]\b", said):
        return ModelError(
            f"{source.name} may not be read: {text}.",
            "a public model, or one whose licence you have accepted.",
            "accept the licence on its page and set HF_TOKEN.",
        )
    if "not the path" in said or "is not a local folder" in said or "connect" in said.lower():
        return ModelError(
            f"{source.name} is no folder here and could not be had from the hub: {text}.",
            "a folder, or a hub id that can be reached or is in the cache.",
            _meant(source.name)
            or "check the spelling and the network; HF_HUB_OFFLINE=1 uses the cache alone.",
        )
    return ModelError(
        f"{source.name} could not be loaded: {type(error).__name__}: {text}.",
        "a causal language model that transformers loads.",
        "python -c \"import transformers as t; t.AutoModelForCausalLM.from_pretrained('...')\" "
        "shows the whole error.",
    )


def _meant(name: str) -> str:
    """What a name that nobody knows probably stood for: the embedded model, or a folder here."""
    return nearest(name.lower(), [EMBEDDED]) or nearest_file(Path(name))
