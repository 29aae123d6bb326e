"""A whole model as transformers loads it, or the reason why it is not whole."""

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, PreTrainedModel

from bitlens.checkpoints.checkpoint import Request
from bitlens.errors import BitlensError
from bitlens.models.load import guarded


def load_whole(request: Request, cls: Any = AutoModelForCausalLM, **arguments: Any) -> Any:
    """`from_pretrained` on the reference's device, with the reference's attention, in evaluation
    mode; refused where a weight is missing, which transformers makes up at random."""
    source = request.source
    model, report = guarded(
        source,
        lambda: cls.from_pretrained(
            arguments.pop("name", source.name),
            revision=source.revision,
            attn_implementation=request.reference.model.config._attn_implementation,
            device_map={"": str(request.device)},
            use_safetensors=True,
            output_loading_info=True,
            **arguments,
        ),
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise BitlensError(
            f"{source.name} has no weights for {', '.join(missing[:4])}"
            f"{f' and {len(missing) - 4} more' if len(missing) > 4 else ''}.",
            "a weight for every parameter of the model.",
            "the whole checkpoint; if it is, its format stores this model in a way that"
            " transformers cannot read back.",
        )
    return _evaluated(model)


def folder(request: Request) -> Path:
    """Where the files are; from the hub, none of its pickles, and code only if it is trusted."""
    path = Path(request.source.name)
    if path.is_dir():
        return path
    files = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
    files += ["*.py"] if request.source.trust_remote_code else []
    return Path(
        guarded(
            request.source,
            lambda: snapshot_download(
                request.source.name, revision=request.source.revision, allow_patterns=files
            ),
        )
    )


def _evaluated(model: PreTrainedModel) -> PreTrainedModel:
    return model.eval().requires_grad_(False)
