"""Every tool that a plan is handed to."""

from collections.abc import Mapping

from bitlens.compression.handover.auto_round import auto_round
from bitlens.compression.handover.bitsandbytes import bitsandbytes
from bitlens.compression.handover.fragment import Fragment
from bitlens.compression.handover.gptqmodel import gptqmodel
from bitlens.compression.handover.llama_quantize import llama_quantize
from bitlens.compression.handover.llm_compressor import llm_compressor
from bitlens.compression.handover.torchao import torchao

TOOLS = (llm_compressor, gptqmodel, bitsandbytes, auto_round, llama_quantize, torchao)


def fragments(formats: Mapping[str, str]) -> list[Fragment]:
    """One for each tool, of the compression of every matrix by its full module path, or `keep`."""
    return [tool(formats) for tool in TOOLS]
