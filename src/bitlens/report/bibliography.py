"""What a run rests on, as BibTeX: bitlens itself, its methods, measures and statistics."""

import re
from collections.abc import Iterator
from importlib.resources import files

from bitlens.report.audit_results import AuditResults

OURS = """@misc{{bitlens, author = {{The bitlens authors}},
  title = {{bitlens: what of a language model's interpretable structure survives compression}},
  note = {{Version {version}, Apache-2.0}}}}"""


def bibtex(results: AuditResults) -> str:
    """An entry for bitlens, and for every paper that something in this run is from."""
    run = uses(results)
    version = re.sub(r"[^\w.+-]", "", results.manifest["tool"]["version"])
    found = [entry for names, entry in sources() if names & run]
    return "\n\n".join([OURS.format(version=version), *found]) + "\n"


def uses(results: AuditResults) -> set[str]:
    """Names of what was run: analyses, methods with the settings that name others, intervals."""
    cells = results.manifest["cells"]
    texts = " ".join(twin["compression"] for twin in results.manifest["twins"])
    return {
        *re.findall(r"[a-z][a-z0-9]*", texts),
        *(cell["analysis"] for cell in cells if cell["status"] == "done"),
        results.manifest["settings"]["interval"],
        *(["until"] if results.manifest["settings"].get("until") else []),
    }


def sources() -> Iterator[tuple[set[str], str]]:
    """Every entry that comes with bitlens, and of what it is the source."""
    text = (files("bitlens.report") / "sources.bib").read_text(encoding="utf-8")
    for names, entry in re.findall(r"^% for: (.+)\n((?:.+\n)+)", text, re.MULTILINE):
        yield set(names.split()), entry.strip()
