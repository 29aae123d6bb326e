"""Which block format llama.cpp gives each matrix of a file, in the mixtures that people deploy
(llama_tensor_get_type, without an importance matrix)."""

from bitlens.models.matrices import LinearMap
from bitlens.models.roles import BlockStanding

FALL_BACK = {
    **dict.fromkeys(("q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    **{"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0"},
}
"""Types with blocks of 256, and what is taken in their place where those do not divide a row."""

_ALONE = BlockStanding(family="", depth=0, blocks=1, queries=1, experts=0)
_SEVENTY = {"llama", "mistral", "qwen2", "olmo"}
"""Families whose models of 80 blocks are known as having 70 billion weights."""


def mixed_type(mix: str, matrix: LinearMap) -> str:
    """The type of this matrix in this mixture, `q4_k_m`: `q6_k`, say, or `f16` where its rows are
    no whole blocks of anything. What is of no known role has the type that the mixture is named
    for."""
    standing = matrix.standing or _ALONE
    plain = mix[:4]
    columns = matrix.weight.shape[-1]
    kind = plain
    if matrix.role in ("value", "fused"):
        kind = _value(mix, plain, standing)
    elif matrix.role == "key" and standing.experts == 8:
        kind = "q8_0"
    elif matrix.role == "down":
        kind = _down(mix, plain, standing)
    elif matrix.role == "output":
        kind = _output(mix, plain, standing)
    elif matrix.role == "unembedding":
        kind = "q8_0" if standing.family == "falcon" or columns % 256 else "q6_k"
    if columns % 256:
        kind = FALL_BACK.get(kind, kind)
    return "f16" if columns % 32 else kind


def _value(mix: str, plain: str, standing: BlockStanding) -> str:
    """Of values, or of queries, keys and values in one."""
    depth, family = standing.depth, standing.family
    if standing.experts == 8:
        return "q8_0"
    kind = plain
    if mix == "q2_k":
        kind = "q4_k" if standing.queries >= 4 else "q3_k"
    elif mix == "q3_k_l" or (mix == "q3_k_m" and depth < 2) or (mix == "q4_k_s" and depth < 4):
        kind = "q5_k"
    elif mix == "q3_k_m":
        kind = "q4_k"
    elif mix in ("q4_k_m", "q5_k_m") and _more(standing):
        kind = "q6_k"
    shared = standing.queries > 1 or family in ("qwen2", "olmo")
    large = standing.blocks == 80 and family in _SEVENTY and shared
    return "q5_k" if large and kind in ("q3_k", "q4_k") else kind


def _down(mix: str, plain: str, standing: BlockStanding) -> str:
    """Of what reads the MLP's neurons."""
    depth, blocks, falcon = standing.depth, standing.blocks, standing.family == "falcon"
    if mix == "q2_k":
        return "q3_k"
    if mix == "q3_k_m":
        plainest = falcon and not _more(standing)
        return "q5_k" if depth < blocks // 16 else "q3_k" if plainest else "q4_k"
    if mix == "q3_k_l":
        return "q4_k" if falcon else "q5_k"
    if mix == "q4_k_s" and not falcon and depth < blocks // 8:
        return "q5_k"
    if mix == "q4_k_m" and falcon and depth >= blocks // 16:
        return "q5_k" if _more(standing) else "q4_k"
    if mix == "q4_k_m" and falcon:
        return "q6_k"
    return "q6_k" if mix in ("q4_k_m", "q5_k_m") and _more(standing) else plain


def _output(mix: str, plain: str, standing: BlockStanding) -> str:
    """Of what adds up the heads."""
    if standing.family == "falcon":
        return "q4_k" if mix == "q3_k_l" else plain
    if standing.experts == 8:
        return plain if mix == "q3_k_l" or plain in ("q5_k", "q6_k") else "q5_k"
    return {"q2_k": "q3_k", "q3_k_m": "q4_k", "q3_k_l": "q5_k"}.get(mix, plain)


def _more(standing: BlockStanding) -> bool:
    """The first and the last eighth of the blocks, and every third between."""
    depth, blocks = standing.depth, standing.blocks
    first = blocks // 8
    return depth < first or depth >= 7 * blocks // 8 or (depth - first) % 3 == 2
