"""A model of the harness that answers from a table, and, without one, writes down what it is asked.

The tokens of a question are the harness' own: only what a model would compute is left out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import resolve_max_length

from bitlens.errors import DataError, told
from bitlens.workflows.bench.generations import GenerationRequest

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


class LikelihoodRequest(NamedTuple):
    """A continuation of which the log-probability is asked after a context."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


Answer = tuple[float, bool]
"""The log-probability in nats, and whether every token of it would come first."""


class ReplayLM(TemplateLM):  # type: ignore[misc]
    """Answers of one model that were computed before. `asked` is filled as it is asked: by texts,
    the request in tokens."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        answers: Mapping[LikelihoodRequest, Answer] | None = None,
        texts: Mapping[GenerationRequest, str] | None = None,
        template: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.answers = answers
        """None: every answer is nothing, and what was asked is what counts."""
        self.asked: dict[tuple[str, str], LikelihoodRequest] = {}
        self.template = template or {}
        """What the chat template is told besides the chat."""
        self.texts = texts
        """What it wrote; None: it writes nothing."""
        self.begun: list[GenerationRequest] = []
        """The texts that it was to go on with."""

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands in the place of an empty context: BOS, or the end of a text."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """By which the harness tells prompts in one template from those in another."""
        return str(self.tokenizer.name_or_path)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """A chat as the tokenizer's own template writes it; one that begins the answer itself is
        gone on with."""
        try:
            written = self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
                **self.template,
            )
        # Templates are programs of their own, and say no in their own ways.
        except Exception as error:
            raise DataError(
                f"The chat template refuses a question: {told(error)}.",
                "a template that takes a system prompt and turns, as the task has them.",
                "leave --chat-template or --system out.",
            ) from error
        return str(written)

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """As the harness' model of transformers does: with the tokenizer's own special tokens,
        unless the text begins with them."""
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        opening = str(self.tokenizer.decode(self.prefix_token_id))
        if add_special_tokens is None and string.startswith(opening):
            special = {"add_special_tokens": False}
        return list(self.tokenizer.encode(string, **special))

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[Answer]:
        answers = []
        for texts, context, continuation in requests:
            request = LikelihoodRequest(tuple(context), tuple(continuation))
            self.asked[texts] = request
            answers.append((0.0, False) if self.answers is None else self.answers[request])
        return answers

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """No task that is let through asks for it."""
        raise NotImplementedError

    def generate_until(self, requests: Any, **_: Any) -> list[str]:
        """What was written, text by text."""
        asked = [GenerationRequest.of(*request.args) for request in requests]
        self.begun += asked
        return ["" if self.texts is None else self.texts[one] for one in asked]


def longest(config: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Tokens that a model reads at once, as the harness finds them: of more, the first are left
    out."""
    return int(resolve_max_length(config, tokenizer))
