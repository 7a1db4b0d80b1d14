"""Pages from templates: everything that comes from data is escaped, and no script but ours may run."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

STATIC = Path(__file__).parent / "static"


def render(template: str, script: str, **values: Any) -> bytes:
    """Return a page of `templates/` with the style sheet and a script of `static/` in it.

    Values are escaped, whatever they hold; the page's policy names the script by its hash and forbids all others.
    """
    code = (STATIC / script).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    style = (STATIC / "report.css").read_text(encoding="utf-8")
    page = _environment().get_template(template)
    return page.render(style=Markup(style), script=Markup(code), script_digest=digest, **values).encode()


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
