"""A quantized KV cache: keys and values read back rounded, weights as they are or compressed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from bitlens.compression.compression import COMPRESSIONS, CompressedMatrix, Compression, MatrixGroup
from bitlens.compression.numerics.cache_rounding import CacheRounding, Grouping
from bitlens.compression.numerics.input_statistics import Statistic
from bitlens.compression.numerics.weights import working_copy
from bitlens.compression.spec_settings import check
from bitlens.errors import InputError
from bitlens.models.matrices import LinearMap


@COMPRESSIONS.register("kv")
@dataclass(frozen=True, kw_only=True)
class Kv(Compression):
    """Keys and values rounded as a quantized cache keeps them: by default as KIVI does (Liu et al.
    2024, arXiv 2402.02750), keys in groups of tokens within a channel, values in groups of
    channels within a token, whole numbers between the least and the largest of a group. Weights
    stay as they are, or are those of another compression, `of`.

    Every position of a text is attended as if it were the token generated last: it reads back what
    the cache holds by then, and has the latest, and the first, as they are. (A prefill of
    transformers' own quantized cache attends to keys and values that are not rounded, and shows
    nothing.) Scales and least numbers are counted as 16 bits and kept in float32. What is
    calibrated in `of` is calibrated before keys and values are rounded.
    """

    name: ClassVar[str] = "kv"
    question: ClassVar[str] = "What does keeping keys and values in a few bits do?"

    bits: int = 4
    """2 to 8, of groups; llama.cpp's blocks have their own."""
    keys: Grouping = "channel"
    """What shares a scale: `channel`, `group` tokens of a channel, once all of them are there;
    `token`, `group` channels of a token; `q8_0` and `q4_0`, llama.cpp's blocks of 32 channels."""
    values: Literal["token", "q8_0", "q4_0"] = "token"
    """What shares a scale, as of keys."""
    group: int = 32
    """Tokens, or channels, that share a scale and a least number; heads with fewer channels have
    one of each."""
    window: int = 0
    """So many latest tokens, the token itself among them, are read as they are."""
    sinks: int = 0
    """So many first tokens are read as they are."""
    rope: Literal["after", "before"] = "after"
    """Whether keys are kept after rotary embeddings turned them, as llama.cpp, KIVI and vLLM keep
    them, or before, as KVQuant does (Hooper et al. 2024, arXiv 2401.18079)."""
    of: Compression | None = None
    """What the weights are compressed by besides."""
    include: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are compressed: those of `of`."""
    exclude: tuple[str, ...] = field(init=False)
    """Patterns of the matrices that are left out: those of `of`."""

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "include", self.of.include if self.of else ())
        object.__setattr__(self, "exclude", self.of.exclude if self.of else ())
        if not 2 <= self.bits <= 8:
            raise InputError(f"kv: bits is {self.bits}.", "2 to 8.", "kv:bits=4")
        for setting, least in (("group", 1), ("window", 0), ("sinks", 0)):
            value = getattr(self, setting)
            if value < least:
                raise InputError(
                    f"kv: {setting} is {value}.", f"{least} or more.", f"kv:{setting}=32"
                )
        of = self.of
        if of is not None and (
            of.control or of.compute_dtype or of.cache or of.matched_to or of.name == "checkpoint"
        ):
            raise InputError(
                f"kv: of is {of.name}.",
                "a compression of the weights: no control, cache, checkpoint or dtype, nothing that"
                " is matched first.",
                "kv:bits=4,of=[rtn:bits=4]",
            )

    @property
    def cache(self) -> CacheRounding:
        """How keys and values are rounded."""
        return CacheRounding(
            key_groups=self.keys,
            value_groups=self.values,
            bits=self.bits,
            group=self.group,
            window=self.window,
            sinks=self.sinks,
            before_rotary=self.rope == "before",
        )

    @property
    def parts(self) -> tuple[Compression, ...]:
        """The compression of the weights, if there is one."""
        return () if self.of is None else (self.of,)

    def part_for(self, matrix: str) -> Compression:
        """What takes this matrix in the compression of the weights."""
        return self if self.of is None else self.of.part_for(matrix)

    @property
    def statistics(self) -> frozenset[Statistic]:
        """What the compression of the weights is calibrated on."""
        return frozenset() if self.of is None else self.of.statistics

    @property
    def sequential(self) -> bool:
        """Whether the compression of the weights is sequential."""
        return self.of is None or self.of.sequential

    def prepare(self, matrices: Callable[[], Iterable[LinearMap]]) -> Any:
        """What the compression of the weights has to know of all of them."""
        return None if self.of is None else self.of.prepare(matrices)

    def compress(self, group: MatrixGroup) -> list[CompressedMatrix]:
        """What the compression of the weights makes of them; without one, as they are."""
        if self.of is not None:
            return self.of.compress(group)
        return [
            CompressedMatrix(working_copy(matrix), 8.0 * matrix.weight.element_size())
            for matrix in group.matrices
        ]
