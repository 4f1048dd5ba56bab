"""Writes ``docs/openapi.json``: run by ``make openapi`` when the HTTP API was changed on purpose."""

from __future__ import annotations

import json
from pathlib import Path

from app.main import create_app
from app.settings import Settings

TARGET = Path(__file__).parents[1] / "docs" / "openapi.json"

if __name__ == "__main__":
    document = create_app(Settings()).openapi()
    TARGET.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
