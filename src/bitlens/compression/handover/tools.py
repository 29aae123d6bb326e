"""Every tool that a plan is handed to."""

from collections.abc import Mapping
from dataclasses import replace

from bitlens.compression.handover.auto_round import auto_round
from bitlens.compression.handover.bitsandbytes import bitsandbytes
from bitlens.compression.handover.fragment import Fragment
from bitlens.compression.handover.gptqmodel import gptqmodel
from bitlens.compression.handover.llama_quantize import llama_quantize
from bitlens.compression.handover.llm_compressor import llm_compressor
from bitlens.compression.handover.torchao import torchao

TOOLS = (llm_compressor, gptqmodel, bitsandbytes, auto_round, llama_quantize, torchao)
LINEAR_ONLY = (llm_compressor, torchao)
"""Those that compress `nn.Linear` alone. The others take GPT-2's Conv1D, whose weights lie the
other way around, as well."""


def fragments(formats: Mapping[str, str], *, conv1d: bool = False) -> list[Fragment]:
    """One for each tool, of the compression of every matrix by its full module path, or `keep`.
    `conv1d`: whether the matrices are weights of Conv1D modules, as GPT-2's are."""
    return [
        _nothing(tool(formats)) if conv1d and tool in LINEAR_ONLY else tool(formats)
        for tool in TOOLS
    ]


def _nothing(fragment: Fragment) -> Fragment:
    """llm-compressor refuses such a module, and torchao would round it in groups along the wrong
    side: neither has anything that can be pasted."""
    told = f"# {fragment.tool}, nothing of the plan: it takes nn.Linear, and these are Conv1D.\n"
    return replace(fragment, text=told)
