"""What all fragments have in common."""

import re

import numpy as np
import pytest
from transformers.pytorch_utils import Conv1D

from bitlens.compression.handover.fragment import ABSENT, Put, laid, regexes
from bitlens.compression.handover.tools import TOOLS, fragments
from tests.support.handover import NAMES, plan


def test_expressions_are_few_and_match_what_they_are_for() -> None:
    """Of random matrices of twelve blocks, each is matched whole by one of them, and no other is;
    block 1 is not 11, and a dot is a dot."""
    random = np.random.default_rng(0)
    for _ in range(20):
        taken = [name for name in [*NAMES, "lm_head"] if random.random() < 0.4]
        found = regexes(taken)
        for name in [*NAMES, "lm_head", "model.layers.1xmlp.up_proj", "lm_head2"]:
            assert sum(re.fullmatch(one, name) is not None for one in found) == (name in taken)
    assert len(regexes(NAMES)) == 1
    assert regexes(["a.3.b.up", "a.3.b.down", "a.11.b.up"]) == [
        r"a\.(3|11)\.b\.up",
        r"a\.3\.b\.down",
    ]


def test_the_first_line_says_what_is_not_as_in_the_plan() -> None:
    """Each with its matrices, by format and by what is there instead; an embedding by name."""
    formats = plan("rtn:bits=4", {"3": "nf4", "lm_head": "rtn:bits=4", "0.mlp": "keep"})
    put = {"rtn": Put("int4"), "nf4": Put("fp4", "is fp4")}
    found = laid("Tool", formats, lambda compression: put[compression.name])
    assert found.comment == (
        "# Tool, not as in the plan: nf4 (7 matrices) is fp4; lm_head (1 matrix) stays as it is."
    )
    assert list(found.matrices) == ["int4", "fp4"]
    assert sorted(found.kept) == sorted([*NAMES[4:7], "lm_head", "model.embed_tokens"])
    with_shell = laid("Tool", formats, lambda compression: put[compression.name], shell=True)
    assert "lm_head" in with_shell.matrices["int4"]
    assert laid("Tool", plan("nf4", {}), lambda _: Put("x")).comment == (
        "# Tool, every format as in the plan."
    )
    assert laid("Tool", plan("nf4", {}), lambda _: ABSENT).matrices == {}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_has_not_is_a_comment_alone(tool) -> None:
    """Pruning is in none of them: nothing is made up."""
    text = tool(plan("prune:sparsity=0.5", {})).text
    assert text.count("\n") == 1
    assert text.startswith("# ")
    assert "prune:0.5 (84 matrices) stays as it is" in text or "prune:sparsity=0.5 (84" in text


@pytest.mark.parametrize("tool", TOOLS)
def test_a_name_cannot_leave_its_place(tool) -> None:
    """Quotes, line breaks and shell syntax in the name of a matrix run nothing."""
    evil = "model.layers.0.mlp.x'\n\"); import os; os.abort() #$(false)`false`.down_proj"
    text = tool({evil: "keep", **plan("rtn:bits=4", {"0.mlp.up_proj": "nf4"})}).text
    for line in text.split("\n"):
        assert not line.lstrip().startswith(('");', "')", '"); import'))
    if not text.startswith(("# llama", "# llm")):
        compile(text, "fragment", "exec")


def test_every_tool_has_its_fragment() -> None:
    """Six, each named, with a file to put it in."""
    found = fragments(plan("rtn:bits=4,group=64", {"3": "rtn:bits=8"}))
    assert [one.text.split(",")[0] for one in found] == [f"# {one.tool}" for one in found]
    assert len({one.tool for one in found}) == len(TOOLS) == 6
    assert all(one.file.endswith((".py", ".sh", ".yaml")) for one in found)


def test_experts_that_are_one_parameter_have_no_module() -> None:
    """Tools that find matrices by their modules are not told to compress them, and say so; the
    type of a tensor they can have."""
    experts = "model.layers.0.mlp.experts.gate_up_proj"
    formats = {experts: "rtn:bits=4,group=32", "model.layers.0.mlp.up_proj": "rtn:bits=4,group=32"}
    for one in fragments(formats):
        first, _, _ = one.text.partition("\n")
        said = "(1 matrix) stays as it is, because these experts are one parameter" in first
        assert said == (one.tool != "llama-quantize")


def test_tools_that_take_no_conv1d_get_nothing_to_paste() -> None:
    """One line says so. Compressed-tensors, which llm-compressor works with, refuses such a
    module."""
    formats = plan("rtn:bits=4,group=64", {})
    found = {one.tool: one for one in fragments(formats, conv1d=True)}
    usual = {one.tool: one for one in fragments(formats)}
    for name, one in found.items():
        if name in ("torchao", "llm-compressor"):
            assert one.text.endswith("it takes nn.Linear, and these are Conv1D.\n")
            assert one.text.count("\n") == 1
        else:
            assert one == usual[name]
    from compressed_tensors.quantization import QuantizationScheme
    from compressed_tensors.quantization.lifecycle import initialize_module_for_quantization

    scheme = QuantizationScheme(targets=["Conv1D"])
    with pytest.raises(ValueError, match="Conv1D"):
        initialize_module_for_quantization(Conv1D(4, 4), scheme)
