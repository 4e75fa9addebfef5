"""What all views are: plain data with a name, a type and a meaning for each field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """An answer to a question. The API's description is made from its fields."""

    model_config = ConfigDict(frozen=True)
