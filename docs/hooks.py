"""mkdocs calls this: pages that are made of the program go into the site without lying in the repository."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.reference_pages import pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    for address, make in pages().items():
        files.append(File.generated(config, address, content=make()))
    return files
