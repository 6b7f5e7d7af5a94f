"""Render the page as one HTML file, with its style and scripts, and the CSV tables beside it.

Chart.js draws the charts (vendor/, MIT license). Jinja2 escapes whatever comes from the data, also
in the script's block of JSON.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from pathlib import Path
from typing import Any

from trainer.report import command_of
from trainer.report.evidence import ReportData
from trainer.workdir.curves import Curves

_HERE = Path(__file__).parent
_CHARTS = "chart.umd.min.js"
_MAX_ROWS = 200  # of a table of classes
_TFDS_ID = re.compile(
    r"[^-]+-(?P<split>[^.]+)\.tfrecord-(?P<shard>\d+)-of-(?P<shards>\d+)__(?P<number>\d+)"
)


def render(template: str, contents: dict[str, Any], for_charts: dict[str, Any]) -> str:
    """Render `contents` as HTML.

    Args:
        template: a file of `templates/`.
        contents: the template's variables; JSON's types, all numbers finite.
        for_charts: the script's data.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        percent=_percent,
        number=_number,
        duration=_duration,
        setting=command_of.text,
        flag=command_of.flag,
        short_id=_short_id,
        breakable=_breakable,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    program = _file("templates/page.js")
    charts = _file(f"vendor/{_CHARTS}").partition("//# sourceMappingURL")[0]
    # Only these two scripts run, and nothing is fetched, whatever the data contain.
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in (charts, program))
    return environment.get_template(template).render(
        **contents,
        max_rows=_MAX_ROWS,
        for_charts=for_charts,
        style=_file("templates/page.css"),
        program=program,
        charts=charts,
        policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
        + allowed,
        license=_file("vendor/LICENSE.md"),
    )


def report(contents: dict[str, Any]) -> str:
    """Render the page of one run; `contents` come from contents.build."""
    return render(
        "report.html",
        contents,
        {
            "curves": {"": contents["curves"]},
            "bins": contents["calibration"]["bins"],
            "best": (contents["metrics"].get("best") or {}).get("global_step"),
        },
    )


def comparison(contents: dict[str, Any]) -> str:
    """Render the page of several runs; `contents` come from comparison.build."""
    return render("compare.html", contents, {"curves": contents["curves"], "bins": []})


def metrics_csv(curves: Curves) -> str:
    """Format all curves: a row for each step, a column for each curve and tag."""
    columns = {
        f"{name}_{tag}": dict(points)
        for name, tags in curves.items()
        for tag, points in tags.items()
    }
    steps = sorted({step for points in columns.values() for step in points})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["step", *columns])
    for step in steps:
        writer.writerow([step, *(points.get(step, "") for points in columns.values())])
    return stream.getvalue()


def predictions_csv(evidence: ReportData) -> str:
    """Format the predictions of the validation split: a row for each scored example."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", "label", "prediction", "confidence", "label_probability"])
    names, scored = evidence.metrics.get("class_names", ()), evidence.scored
    for index in [] if scored is None else scored.is_scored.nonzero()[0].tolist():
        assert scored is not None
        writer.writerow(
            [
                evidence.ids[index],
                names[scored.label[index]],
                names[scored.prediction[index]],
                f"{scored.confidence[index]:.6f}",
                f"{scored.label_probability[index]:.6f}",
            ]
        )
    return stream.getvalue()


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _short_id(name: str) -> str:
    """Shorten an id of TFDS to split, shard and number."""
    found = _TFDS_ID.fullmatch(name)
    if not found:
        return name
    shard = "" if found["shards"] == "00001" else f"{int(found['shard'])}/"
    return f"{found['split']} {shard}{found['number']}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _duration(secs: float | None) -> str:
    if secs is None:
        return "–"
    if secs < 60:
        return f"{secs:.1f} s"
    minutes, rest = divmod(round(secs), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _breakable(name: str) -> Any:
    """Return a class's name as HTML that may break between words."""
    import markupsafe

    words = re.split(r"(?<=[_\-/. ])", name)
    return markupsafe.Markup("<wbr>").join(words)  # escapes each
