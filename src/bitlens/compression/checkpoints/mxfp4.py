"""MXFP4, as gpt-oss stores its experts: 4-bit floats with a power of two for 32 of them."""

from transformers.utils.quantization_config import Mxfp4Config

from bitlens.compression.checkpoints.checkpoint import CheckpointRequest, ReadCheckpoint
from bitlens.compression.checkpoints.held import Held
from bitlens.compression.checkpoints.pretrained import folder, load_whole
from bitlens.compression.checkpoints.readers import reader
from bitlens.compression.checkpoints.stored import as_held, find


@reader("mxfp4")
def read(request: CheckpointRequest) -> ReadCheckpoint:
    """Experts are dequantized when loaded, exactly: bfloat16 holds every such number."""
    model = load_whole(
        request,
        trust_remote_code=request.source.trust_remote_code,
        dtype="auto",
        quantization_config=Mxfp4Config(dequantize=True),
    )
    reference = request.reference.model
    held = Held(folder(request))
    described = {"format": "mxfp4", "group": 32}
    stored = as_held(
        find(reference, model), held, reference.base_model_prefix, lambda _module: described
    )
    return ReadCheckpoint(
        format="mxfp4",
        kernels=False,
        model=model,
        stored=stored,
        notes=("mxfp4: dequantized weights, as loaded.",),
    )
