"""Learning: what scores, re-routes and unrouted questions say about the catalog, and which changes make it better."""
