"""LLM.int8: eight bits for weights and inputs, but for the inputs' outliers."""

from dataclasses import dataclass
from typing import ClassVar

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, DataFree
from bitlens.compression.numerics.eight_bit import round_
from bitlens.compression.numerics.grid import QuantizationGrid
from bitlens.compression.numerics.input_rounding import InputRounding
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap

_EXPERTS = (
    "each token routed to an expert is a call of its own; bitsandbytes does not quantize fused"
    " experts at all"
)


@COMPRESSIONS.register("int8")
@dataclass(frozen=True, kw_only=True)
class Int8(DataFree):
    """LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339): weights rounded to int8 by the largest
    of their output row, inputs by the largest of their position, except in those input columns
    in which any position of the call holds an outlier, which are not rounded.

    Those columns are multiplied with the same int8 weights, as bitsandbytes does it, where the
    paper keeps their weights in 16 bits. A call is one document's window. Of fused experts each
    token is a call of its own. Scales are counted as 16 bits and kept in float32; bitsandbytes
    rounds weights and inputs to float16 first.
    """

    name: ClassVar[str] = "int8"
    question: ClassVar[str] = (
        "What does LLM.int8 do: eight bits for weights and inputs, outliers apart?"
    )

    threshold: float = 6.0
    """Inputs of at least this magnitude are outliers; 0: none are."""

    def __post_init__(self) -> None:
        check(self)
        if self.threshold < 0:
            raise InputError(
                f"int8: threshold is {self.threshold}.",
                "a magnitude above 0, or 0 for no outliers.",
                "int8:threshold=6.0",
            )

    def compress_matrix(self, matrix: LinearMap) -> CompressedMatrix:
        """Round a matrix by the largest of each row; its inputs are rounded too."""
        weight = working_copy(matrix)
        round_(weight, weight.abs().amax(-1, keepdim=True), "int8")
        bits = QuantizationGrid(8).bits_per_weight(weight.shape[-1])
        activations = InputRounding("int8", outliers=self.threshold or None)
        note = _EXPERTS if weight.ndim == 3 and self.threshold else ""
        return CompressedMatrix(weight, bits, note=note, activations=activations)
