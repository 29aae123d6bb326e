"""A command of llama.cpp's `llama-quantize`: a type for most tensors, and `--tensor-type` for the
others."""

import re
import shlex
from collections.abc import Mapping

from bitlens.compression.compression import Compression
from bitlens.compression.handover.fragment import ABSENT, Fragment, Put, laid, regexes
from bitlens.compression.handover.grids import whole_numbers
from bitlens.compression.methods.cast import Cast
from bitlens.compression.methods.gguf import Gguf
from bitlens.compression.methods.int8 import Int8
from bitlens.compression.methods.microscaling import Mxfp4
from bitlens.compression.methods.w8a8 import ScaledEightBits
from bitlens.errors import in_one_line

TOOL = "llama-quantize"
WHOLE = "f16"
"""What stays as it is: the type that the converted file has, as it is made by default."""
_FILE_TYPES = {
    "q2_k": "Q2_K",
    "q3_k": "Q3_K_S",
    "q4_k": "Q4_K_S",
    "q5_k": "Q5_K_S",
    "mxfp4": "MXFP4_MOE",
}
"""Names of file types whose tensors are of a type; of the others it is the type's own."""
_BY_BITS = {2: "q2_k", 3: "q3_k", 4: "q4_k", 5: "q5_k", 6: "q6_k", 7: "q8_0", 8: "q8_0"}
_FLOATS = ("f16", "bf16")
_NAMES = {
    "attn_q": ("q_proj",),
    "attn_k": ("k_proj",),
    "attn_v": ("v_proj",),
    "attn_qkv": ("qkv_proj", "query_key_value", "attn.c_attn"),
    "attn_output": (
        "o_proj",
        "attn.c_proj",
        "self_attn.out_proj",
        "self_attn.dense",
        "self_attention.dense",
        "attention.dense",
    ),
    "ffn_gate": ("mlp.gate_proj",),
    "ffn_up": ("mlp.up_proj", "mlp.gate_up_proj", "mlp.c_fc", "mlp.fc1", "fc1", "dense_h_to_4h"),
    "ffn_down": ("mlp.down_proj", "mlp.c_proj", "mlp.fc2", "fc2", "dense_4h_to_h"),
    "ffn_gate_exps": ("experts.gate_up_proj",),
    "ffn_up_exps": ("experts.gate_up_proj",),
    "ffn_down_exps": ("experts.down_proj",),
    "ffn_gate_shexp": ("shared_expert.gate_proj",),
    "ffn_up_shexp": ("shared_expert.up_proj",),
    "ffn_down_shexp": ("shared_expert.down_proj",),
}
"""What llama.cpp calls tensors of a block, and the ends of module paths that they are."""
_TENSORS: dict[str, list[str]] = {}
for _called, _ends in _NAMES.items():
    for _end in _ends:
        _TENSORS.setdefault(_end, []).append(_called)
_SHELL = {
    **dict.fromkeys(("embed_tokens", "wte", "embed_in", "word_embeddings"), "token_embd"),
    **dict.fromkeys(("lm_head", "embed_out"), "output"),
    **dict.fromkeys(("wpe", "embed_positions"), "position_embd"),
}


def llama_quantize(formats: Mapping[str, str]) -> Fragment:
    """A shell command. The most frequent type is the base, without llama.cpp's own mixture of
    types; what is not as in the plan is the nearest by bits, and what stays as it is has 16."""
    names = {name: tensors(name) for name in formats}
    unknown = sorted(name for name, found in names.items() if not found)
    known = {name: formats[name] for name in formats if names[name]}
    plan = laid(TOOL, known, _put, shell=True, modules=False)
    comment = plan.comment
    if unknown:
        listed = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        comment += in_one_line(f" Nobody here knows what llama.cpp calls {listed}: left to it.")
    lines = [comment]
    base = next((kind for kind in plan.matrices if kind not in _FLOATS), None)
    if base is not None:
        others = {kind: found for kind, found in plan.matrices.items() if kind != base}
        others[WHOLE] = others.get(WHOLE, []) + plan.kept
        lines.append("llama-quantize --pure \\")
        for kind, matrices in others.items():
            called = [f"{one}.weight" for name in matrices for one in names[name]]
            lines += [
                f"  --tensor-type {shlex.quote(f'^{one}$={kind}')} \\" for one in regexes(called)
            ]
        lines.append(f"  model-f16.gguf model.gguf {_FILE_TYPES.get(base, base.upper())}")
    return Fragment(TOOL, "quantize.sh", "\n".join(lines) + "\n")


def tensors(name: str) -> list[str]:
    """What llama.cpp calls the matrix of this module path, without `.weight`, or its parts; nothing
    for what is not known here."""
    match = re.fullmatch(r".*?\.(\d+)\.(.+)", name)
    if match is None:
        return [one for end, one in _SHELL.items() if name.rpartition(".")[2] == end]
    parts = match[2].split(".")
    ends = [".".join(parts[first:]) for first in range(len(parts))]
    found = next((_TENSORS[end] for end in ends if end in _TENSORS), [])
    return [f"blk.{match[1]}.{one}" for one in found]


def _put(compression: Compression) -> Put:
    if isinstance(compression, Gguf):
        # Within a plan each unit is given its type: of a mixture, the one that it is named for.
        return Put(compression.type) if compression.type else _type(str(compression.mix)[:4])
    if isinstance(compression, Cast) and compression.dtype in ("float16", "bfloat16"):
        return Put("f16" if compression.dtype == "float16" else "bf16")
    if isinstance(compression, Mxfp4):
        return _type("mxfp4")
    grid = whole_numbers(compression)
    eight = isinstance(compression, ScaledEightBits | Int8)
    if grid is None and not eight:
        return ABSENT
    return _type(_BY_BITS[8 if grid is None else grid.bits])


def _type(kind: str) -> Put:
    return Put(kind, f"is gguf:type={kind}")
