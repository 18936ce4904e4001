"""Learning: propose changes of the catalog from scores, re-routes and unrouted questions, and measure each change."""
