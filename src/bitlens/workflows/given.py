"""Models and texts that were handed over as objects, by the names that a study has for them; and
what carries out its sweeps."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bitlens.data.texts import Documents
from bitlens.models.in_memory import LentModel
from bitlens.workflows.engines import Engine, Here


@dataclass(frozen=True, eq=False)
class Given:
    """What a study only names, and a caller holds."""

    models: Mapping[str, LentModel] = field(default_factory=dict)
    texts: Mapping[str, Documents] = field(default_factory=dict)
    engine: Engine = field(default_factory=Here)

    def documents(self, source: str | None) -> Documents | None:
        """The documents of this name; None where they are to be read."""
        return self.texts.get(source or "")

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While this lasts the models may run in other ways; afterwards each is as it was."""
        with ExitStack() as stack:
            for model in self.models.values():
                stack.enter_context(model.lent())
            yield


NOTHING = Given()
"""A study that names all it needs."""
