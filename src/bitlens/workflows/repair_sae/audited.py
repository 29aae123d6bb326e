"""A twin of a folder of results: its model, texts and origin, held against what was audited."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bitlens.compression import format_spec, parse_spec
from bitlens.config.study import Study, study_of_written
from bitlens.data.corpus import Corpus
from bitlens.errors import ResultsError
from bitlens.models.load import Loaded
from bitlens.results.store import Store


@dataclass(frozen=True)
class AuditedTwin:
    """One twin of a complete store."""

    store: Store
    study: Study
    """The store's settings, of this twin alone: what it is made by is as it was."""

    @classmethod
    def of(cls, store: Store, twin: str, *, trust_remote_code: bool) -> "AuditedTwin":
        """BitlensError for results of several models, for a twin they do not have, and, without
        `trust_remote_code`, for those of a model that runs its own code."""
        manifest = store.manifest()
        settings = manifest["settings"]
        models = max(len(settings["models"]), len(manifest["models"]))
        if models != 1:
            raise ResultsError(
                f"{store.root} holds results of {models} models.",
                "results of one model, to whose twin the SAE is adapted.",
                "an audit of the model that the SAE was trained on.",
            )
        known = [t["compression"] for t in manifest["twins"] if t["status"] == "done"]
        text = format_spec(parse_spec(twin))
        if text not in known:
            raise ResultsError(
                f"{store.root} has no twin {text}.",
                f"one of {', '.join(known)}." if known else "an audit of which a twin was made.",
                f"--twin {known[0]}" if known else "look at its report, which says why.",
            )
        # The first seed that was measured: an earlier one may have failed.
        seed = manifest["corpora"][0]["seed"]
        # Memory is this machine's.
        one = {"compressions": [text], "controls": [], "seeds": [seed], "memory": None}
        study = study_of_written(
            {**settings, **one}, trust_remote_code=trust_remote_code, where=str(store.root)
        )
        return cls(store, study)

    def check_model(self, loaded: Loaded) -> None:
        """BitlensError where its weights are not those that were audited."""
        (model,) = self.store.manifest()["models"]
        self._same(f"The weights of {loaded.name}", loaded.fingerprint, model["fingerprint"])

    def check_texts(self, corpus: Corpus) -> None:
        """BitlensError where other tokens were evaluated."""
        first = self.store.manifest()["corpora"][0]
        self._same(f"The tokens of {corpus.name}", corpus.token_hash, first["token_hash"])

    def check_twin(self, origin: Mapping[str, str]) -> None:
        """BitlensError where the twin is now made of something else: other calibration documents,
        another checkpoint, another sparsity. `origin`: its identity, as `BuiltTwins` has it."""
        (twin,), (seed,) = self.study.compressions, self.study.seeds
        measured = [
            cell["id"]
            for cell in self.store.manifest()["cells"]
            if (cell["compression"], cell["seed"], cell["status"]) == (twin, seed, "done")
        ]
        if not measured:
            raise ResultsError(
                f"{self.store.root} has nothing that was measured of {twin} with seed {seed}.",
                "a twin of which something was.",
                "look at its report, which says why.",
            )
        settings = self.store.read_cell(measured[0])[0].settings
        for name, now in origin.items():
            self._same(f"What {twin} is made by ({name})", now, settings.get(name, "unknown"))

    def _same(self, what: str, now: str, then: Any) -> None:
        if now != then:
            raise ResultsError(
                f"{what} changed since the audit: {now[:40]} now, {str(then)[:40]} in "
                f"{self.store.root}.",
                "what was audited: the numbers to be had back are of that.",
                "it as it was, or another audit with another --out.",
            )
