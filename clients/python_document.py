"""The document that the Python client is generated from: ``python clients/python_document.py SOURCE TARGET``.

A key is optional where the service has none, and the document says so by an empty security requirement. The generator
does not read that and would type every call for an ``AuthenticatedClient`` only; without ``security`` it takes both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    document = json.loads(source.read_text(encoding="utf-8"))
    for path in document["paths"].values():
        for operation in path.values():
            if {} in operation.get("security", ()):
                del operation["security"]
    target.write_text(json.dumps(document), encoding="utf-8")
