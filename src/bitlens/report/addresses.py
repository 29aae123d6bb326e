"""The address of a thing on the page: `layer=2&head=5`, with its model where there are several."""

from urllib.parse import urlencode

from bitlens.report.audit_results import AuditResults


def address(results: AuditResults, model: str, **thing: str | int | None) -> str:
    """What follows the `#` of a link to a block, a head or a feature; None: it has none of that."""
    named = {"model": model} if len(results.models) > 1 else {}
    return urlencode({**named, **{key: held for key, held in thing.items() if held is not None}})
