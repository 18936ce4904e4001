"""The four functions for cached answers that other programs import; the product itself calls the same ones."""

from agentic_flywheel.broker.persistence import check_cache, generate_cache_key, get_ttl_for_flow, write_to_cache

__all__ = ["check_cache", "generate_cache_key", "get_ttl_for_flow", "write_to_cache"]
