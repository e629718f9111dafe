"""From a text of a given form to what it says."""

from __future__ import annotations

import json
from typing import Any

from exsa_lab.errors import IncompleteForm, shown
from exsa_lab.forms import Form


def parse_form(form: Form, text: str, model: type[Any] | None = None) -> Any:
    """Return the object that a JSON text is, of the pydantic model where one is given; any other text is itself.

    Raises IncompleteForm where the text is none, as where the model checks more
    than a schema can say.

    Example: ``parse_form(Form("json", "{}"), '{"a": 1}')`` is ``{"a": 1}``.
    """
    if form.kind != "json":
        return text
    try:
        return json.loads(text) if model is None else model.model_validate_json(text)
    except (ValueError, RecursionError) as cause:
        raise IncompleteForm(f"the text is not what was asked for: {shown(str(cause))[1:-1]}.") from cause
