"""A whole model as transformers loads it, or the reason why it is not whole."""

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, PreTrainedModel

from bitlens.compression.checkpoints.checkpoint import CheckpointRequest
from bitlens.models.explained import guarded
from bitlens.models.hub import require_answer
from bitlens.models.load import whole


def load_whole(
    request: CheckpointRequest, cls: Any = AutoModelForCausalLM, **arguments: Any
) -> Any:
    """`from_pretrained` on the reference's device, with the reference's attention, in evaluation
    mode; refused where anything is missing or left over."""
    source = request.source
    model = whole(
        source,
        cls,
        arguments.pop("name", source.name),
        revision=source.revision,
        attn_implementation=request.reference.model.config._attn_implementation,
        device_map={"": str(request.device)},
        use_safetensors=True,
        **arguments,
    )
    return _evaluated(model)


def folder(request: CheckpointRequest) -> Path:
    """Where the files are; from the hub, none of its pickles, and code only if it is trusted."""
    path = Path(request.source.name)
    if path.is_dir():
        return path
    name, revision = request.source.name, request.source.revision
    guarded(request.source, lambda: require_answer(name, "config.json", revision))
    files = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
    files += ["*.py"] if request.source.trust_remote_code else []
    return Path(
        guarded(
            request.source,
            lambda: snapshot_download(name, revision=revision, allow_patterns=files),
        )
    )


def _evaluated(model: PreTrainedModel) -> PreTrainedModel:
    frozen: PreTrainedModel = model.eval().requires_grad_(requires_grad=False)
    return frozen
