"""A configuration that transformers converts as the plan means it."""

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.quantizers.quantizers_utils import should_convert_module

from bitlens.compression.handover.bitsandbytes import bitsandbytes
from bitlens.demo import model_path
from tests.support.handover import KINDS, plan, run


def converted(text: str, names: dict[str, str]) -> tuple[BitsAndBytesConfig, set[str]]:
    """The configuration, and the linear layers that transformers would convert."""
    config = run(text).quantization_config
    assert isinstance(config, BitsAndBytesConfig)
    linear = [name for name in names if name != "model.embed_tokens"]
    return config, {n for n in linear if should_convert_module(n, config.llm_int8_skip_modules)}


def test_what_is_not_in_its_one_format_is_skipped() -> None:
    """nf4 has most matrices; what the plan keeps, block 1 (not 11) and the unembedding are not
    converted."""
    formats = plan("nf4:double=true", {"1": "rtn:bits=8", "11.self_attn": "keep"})
    text = bitsandbytes(formats).text
    config, found = converted(text, formats)
    assert found == {name for name, one in formats.items() if one == "nf4:double=true"}
    assert (config.load_in_4bit, config.load_in_8bit) == (True, False)
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)
    assert text.startswith(
        "# bitsandbytes, not as in the plan: rtn:bits=8 (7 matrices) stays as it is.\n"
    )


def test_a_tied_unembedding_is_skipped_too() -> None:
    """A plan names tied matrices once, by the embedding; bitsandbytes would convert the other."""
    formats = plan("nf4", {})
    del formats["lm_head"]
    _, found = converted(bitsandbytes(formats).text, {**formats, "lm_head": "keep"})
    assert found == set(formats) - {"model.embed_tokens"}


@pytest.mark.parametrize(
    ("format_", "given", "told"),
    [
        ("nf4", ("nf4", False), "every format as in the plan"),
        ("fp4:double=true", ("fp4", True), "every format as in the plan"),
        ("nf4:block=128", ("nf4", False), "nf4:block=128 (84 matrices) is nf4"),
        ("rtn:bits=4,group=64", ("nf4", False), "rtn:bits=4,group=64 (84 matrices) is nf4"),
    ],
)
def test_four_bits(format_: str, given: tuple[str, bool], told: str) -> None:
    """Tables of its own, one of which stands for other formats of up to four bits."""
    formats = plan(format_, {})
    text = bitsandbytes(formats).text
    config, _ = converted(text, formats)
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == given
    assert told in text.split("\n")[0]


@pytest.mark.parametrize(
    ("format_", "threshold", "told"),
    [
        ("int8", 6.0, "every format as in the plan"),
        ("int8:threshold=3.0", 3.0, "every format as in the plan"),
        ("rtn:bits=8", 6.0, "rtn:bits=8 (84 matrices) is int8"),
        ("w8a8", 6.0, "w8a8 (84 matrices) is int8"),
    ],
)
def test_eight_bits(format_: str, threshold: float, told: str) -> None:
    """LLM.int8 with its threshold."""
    formats = plan(format_, {})
    text = bitsandbytes(formats).text
    config, found = converted(text, formats)
    assert (config.load_in_8bit, config.llm_int8_threshold) == (True, threshold)
    assert len(found) == 84
    assert told in text.split("\n")[0]


def test_six_bits_are_none_of_its_formats() -> None:
    """They stay as they are."""
    assert "rtn:bits=6 (84 matrices) stays" in bitsandbytes(plan("rtn:bits=6", {})).text


@pytest.mark.slow
def test_a_model_is_loaded_so() -> None:
    """The embedded model with random formats: bitsandbytes' layers are those that the plan gives
    four bits, and no others; its unembedding, tied to the embedding, stays as it is."""
    library = pytest.importorskip("bitsandbytes", reason="bitsandbytes is absent")
    names = [f"model.layers.{block}.{kind}" for block in range(4) for kind in KINDS]
    kinds = ["nf4", "nf4", "nf4", "rtn:bits=8", "keep"]
    drawn = np.random.default_rng(0).choice(kinds, len(names))
    formats = dict(zip(names, drawn.tolist(), strict=True)) | {"model.embed_tokens": "keep"}
    config = run(bitsandbytes(formats).text).quantization_config
    model = AutoModelForCausalLM.from_pretrained(model_path(), quantization_config=config)
    found = {n for n, one in model.named_modules() if isinstance(one, library.nn.Linear4bit)}
    assert found == {name for name, one in formats.items() if one == "nf4"}
