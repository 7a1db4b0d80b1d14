"""Pages from templates: everything that comes from data is escaped, and no script but ours may run."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

STATIC = Path(__file__).parent / "static"


def render(template: str, script: str | None = None, **values: Any) -> bytes:
    """Return a page of `templates/` with the style sheet and, where it has one, a script of `static/` in it.

    Values are escaped, whatever they hold; the page's policy names the script by its hash and forbids all others.
    """
    code = _static(script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    allowed = Markup(f"'sha256-{digest}'" if script else "'none'")
    page = _environment().get_template(template)
    return page.render(style=_static("report.css"), script=code, script_source=allowed, **values).encode()


def _static(name: str) -> Markup:
    return Markup((STATIC / name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("defectfill.dataset.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment
