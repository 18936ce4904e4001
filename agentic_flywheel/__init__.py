"""The kernel of Agentic Flywheel: what its packages share. Nothing is imported until you ask for it by its module.

Who asks questions starts at ``producer``: ``from producer import Producer``. From here, callers need:

``models``    what is asked and answered: ``Query``, ``Answer``, ``Record``, ``Event``, ``State``, ``Turn``
``errors``    every failure as a class that says what to do next and when to try again
``settings``  ``Settings``: what the environment sets, to be given to a producer in other ways
``catalog``   the flows as the registry describes them; ``registry`` reads and changes the file
``profiles``  the domain profiles

The rest is for the parts of the product: ``broker`` (all that is in Redis), ``routing``, ``learning``, ``flowise``,
``tracing``, ``figures``, ``stack``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """Read the version when it is asked for: what finds it takes longer to import than everything else here."""
    if name == "__version__":
        from importlib.metadata import version

        return version("agentic-flywheel")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
