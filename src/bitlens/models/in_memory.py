"""A model that somebody has loaded already: read where it lies, and handed back as it was."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bitlens.errors import InputError, ModelError, in_one_line
from bitlens.models.compute import compute_dtype
from bitlens.models.load import Loaded, parameters_of, require_finite, restore_buffers
from bitlens.models.source import IN_MEMORY, ModelSource, name_of


@dataclass(frozen=True, eq=False)
class LentModel:
    """A transformers model and its tokenizer, as objects. Neither is copied."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> "LentModel":
        """BitlensError for what is no causal language model of transformers with its tokenizer, or
        is one whose weights are codes or lie elsewhere."""
        if not isinstance(model, PreTrainedModel):
            raise InputError(
                f"The model is a {type(model).__name__}.",
                "a folder, a hub id, demo, or a model of transformers (a PreTrainedModel).",
                "of a wrapper, the model inside; of an adapter, merge_and_unload().",
            )
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise InputError(
                f"The model is an object, and its tokenizer is {tokenizer!r}.",
                "the model's tokenizer as an object too.",
                "tokenizer=AutoTokenizer.from_pretrained(...)",
            )
        lent = cls(model, tokenizer)
        lent._require_plain()
        return lent

    def source(self, name: str | None = None, **settings: Any) -> ModelSource:
        """What a study says of it: its name, here `name` or what it was loaded by, and where it
        lies."""
        named = name or getattr(self.model, "name_or_path", "") or type(self.model).__name__
        called = in_one_line(name_of(ModelSource(named)))
        if called.count("/") > 1 or called.startswith((".", "/", "~")):
            # A folder that is gone by now; its path is nobody's business.
            called = called.rstrip("/").rpartition("/")[2]
        return ModelSource(f"{IN_MEMORY}{called}", device=str(self.model.device), **settings)

    def loaded(self, source: ModelSource) -> Loaded:
        """The model as it is audited, for as long as it is `lent`."""
        for name, parameter in parameters_of(self.model):
            require_finite(source, name, parameter)
        restore_buffers(self.model, self.model.config, source)
        return Loaded(
            name=name_of(source),
            model=self.model.eval(),
            tokenizer=self.tokenizer,
            fingerprint=self._fingerprint,
            offloaded=False,
            weight_bytes=self.weight_bytes,
            attention=self.model.config._attn_implementation,
            notes=("The model was handed over as an object: a hash says which weights it had.",),
            compute=compute_dtype(source.compute),
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes that its parameters take."""
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While this lasts the model may be changed in how it runs: dropout, attention, numbers
        that it derives from its configuration. Afterwards it is as it was."""
        model = self.model
        training = [(module, module.training) for module in model.modules()]
        buffers = [(module, dict(module._buffers)) for module in model.modules()]
        attention = model.config._attn_implementation
        try:
            yield
        finally:
            if model.config._attn_implementation != attention:
                model.set_attn_implementation(attention)
            for module, own in buffers:
                module._buffers.update(own)
            for module, was in training:
                module.training = was

    def _require_plain(self) -> None:
        config = self.model.config
        name = type(self.model).__name__
        if getattr(config, "is_encoder_decoder", False):
            raise ModelError(
                f"{name} is an encoder-decoder ({config.model_type}).",
                "a decoder-only causal language model.",
                "bitlens list families shows which were tried.",
            )
        if getattr(self.model, "is_quantized", False):
            raise ModelError(
                f"{name} is quantized: it has no weights that could be compressed or compared.",
                "a reference in 16 or 32 bits.",
                "the model that it was made from, and its folder as to='checkpoint:DIR'.",
            )
        if getattr(self.model, "_hf_peft_config_loaded", False):
            raise ModelError(
                f"{name} has an adapter loaded beside its weights.",
                "a whole model.",
                "merge the adapter into the weights first.",
            )
        if any(parameter.is_meta for parameter in self.model.parameters()):
            raise ModelError(
                f"{name} has weights that are not in memory.",
                "a model that is loaded whole.",
                "name its folder instead: what does not fit is read from disk.",
            )

    @cached_property
    def _fingerprint(self) -> str:
        """Changes with its settings and with any of its weights."""
        aside = ("_name_or_path", "transformers_version")
        settings = {k: v for k, v in self.model.config.to_dict().items() if k not in aside}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for name, parameter in parameters_of(self.model):
            digest.update(f"{name} {parameter.dtype} {list(parameter.shape)}".encode())
            plain = parameter.contiguous().cpu().reshape(-1).view(torch.uint8)
            digest.update(plain.numpy().data)
        return digest.hexdigest()[:16]
