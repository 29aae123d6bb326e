"""Compressions whose weights are whole numbers times a scale, as tools that have nothing else see
them."""

from dataclasses import dataclass, replace

from bitlens.compression.compression import Compression
from bitlens.compression.methods.awq import Awq
from bitlens.compression.methods.gptq import Gptq
from bitlens.compression.methods.hqq import Hqq
from bitlens.compression.methods.rtn import Rtn


@dataclass(frozen=True)
class WholeNumbers:
    """Which numbers a weight may become."""

    bits: int
    group: int
    """Input columns that share a scale; 0: those of a row."""
    symmetric: bool

    @property
    def rounded(self) -> Rtn:
        """Plain rounding to them, as tools do it: a symmetric grid with all codes that the bits
        have, -2^(b-1) to 2^(b-1) - 1, in steps of 2a / (2^b - 1)."""
        made = Rtn(bits=self.bits, group=self.group, symmetric=self.symmetric)
        return replace(made, convention="gptq") if self.symmetric else made

    @property
    def calibrated(self) -> Gptq:
        """GPTQ on them."""
        made = Gptq(bits=self.bits, group=self.group, symmetric=self.symmetric)
        return replace(made, convention="gptq") if self.symmetric else made


def whole_numbers(compression: Compression) -> WholeNumbers | None:
    """Which they are, whatever method chooses among them; None for what is no such grid."""
    if isinstance(compression, Rtn):
        if compression.axis != "output" or (
            compression.scope == "tensor" and not compression.group
        ):
            return None
        return WholeNumbers(compression.bits, compression.group, compression.symmetric)
    if isinstance(compression, Gptq | Awq):
        return WholeNumbers(compression.bits, compression.group, compression.symmetric)
    if isinstance(compression, Hqq):
        return WholeNumbers(compression.bits, compression.group, symmetric=False)
    return None
