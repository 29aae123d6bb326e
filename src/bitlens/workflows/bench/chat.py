"""How benchmarks are asked of a model that was trained on chats: in its own template."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from bitlens.data.chats import ChatFormat, template_settings
from bitlens.workflows.session import Session


@dataclass(frozen=True, eq=False, kw_only=True)
class AskedInChat:
    """The chat that a question becomes."""

    how: ChatFormat | None
    """None: questions are texts."""
    template: Mapping[str, Any]
    """What the template is told besides the chat."""
    notes: tuple[str, ...]
    """What the reader of a result should know."""

    @classmethod
    def of(cls, session: Session) -> Self:
        """As the study says. DataError for a tokenizer without a template."""
        study, loaded = session.study, session.loaded
        if not study.chat_template:
            return cls(how=None, template={}, notes=())
        template, told = template_settings(loaded.tokenizer, study.thinking, loaded.name)
        return cls(
            how=ChatFormat(study.system, study.thinking),
            template=template,
            notes=(f"Asked in the chat template of {loaded.name}.", *told),
        )
