"""What the keys and values of a token take, in words."""

from bitlens.report.audit_results import AuditResults
from bitlens.results.records import TwinRecord


def token(results: AuditResults, model: str, twin: TwinRecord | None = None) -> str:
    """Bytes, of a twin or the reference; where nothing is rounded, they are the reference's."""
    own = None if twin is None else twin.token_bytes
    whole: float | None = results.about(model).get("token_bytes")
    found = whole if own is None else own
    return "–" if found is None else f"{found:,.0f}"


def beside_reference(results: AuditResults, model: str, twin: TwinRecord) -> str:
    """`1,280 bytes of keys and values a token instead of 8,192`; empty where they are as they are
    computed."""
    if twin.token_bytes is None:
        return ""
    own, whole = token(results, model, twin), token(results, model)
    return f"{own} bytes of keys and values a token instead of {whole}"
