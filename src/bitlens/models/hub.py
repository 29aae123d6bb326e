"""One brief question whether the hub is there, before its library asks again for half a minute."""

from bitlens.errors import told

SECONDS = 5.0
"""Until an answer."""


def require_answer(repository: str, file: str, revision: str | None = None) -> None:
    """ConnectionError where a file is not in the cache and the hub does not answer. What it answers
    is left to its library."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        return
    try:
        if not try_to_load_from_cache(repository, file, revision=revision):
            get_hf_file_metadata(hf_hub_url(repository, file, revision=revision), timeout=SECONDS)
    except (HfHubHTTPError, ValueError):
        return
    except Exception as error:
        raise ConnectionError(f"no connection to the hub: {told(error)}") from error
