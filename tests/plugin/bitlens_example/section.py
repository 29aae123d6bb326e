from bitlens.report.audit_results import AuditResults
from bitlens.report.page.parts import Column, Part, Prose, Table
from bitlens.report.registration import Marks, section


@section("unexplained", "What SAEs leave out", after="features", analysis="unexplained")
def unexplained(results: AuditResults, model: str, marks: Marks) -> tuple[Part, ...]:
    """A table of the ratio, one row a site and twin."""
    rows = [
        (row["compression"], row["site"], f"{row['value']:.2f}")
        for row in results.estimates
        if (row["model"], row["analysis"]) == (model, "unexplained") and row["value"] is not None
    ]
    columns = (Column("compression"), Column("site"), Column("ratio", numeric=True))
    told = Prose("Relative error of the SAE on the twin, over that on the reference.")
    return (told, Table(columns, tuple(rows))) if rows else ()
