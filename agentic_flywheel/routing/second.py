"""Who reads again what the first stage leaves unsure: the registry's server, or the extra's model."""

from __future__ import annotations

from pathlib import Path

from agentic_flywheel.catalog import Catalog
from agentic_flywheel.routing.encoder import Encoder
from agentic_flywheel.routing.minilm import installed_encoder


def strong_encoder(catalog: Catalog, cache_dir: Path | None = None) -> Encoder | None:
    """Return the encoder that the catalog's policy names, else the extra's, else None.

    What a server is asked once is kept in ``cache_dir``, where given.
    """
    server = catalog.policy.encoder
    if server is None:
        return installed_encoder()
    # Imported when it is needed: an HTTP client takes 6 MB, and most registries name no server.
    from agentic_flywheel.routing.server import ServerEncoder

    return ServerEncoder(server, cache_dir)
