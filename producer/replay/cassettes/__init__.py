"""Record what Flowise answers, and play it back: tests of one's own that need no Flowise, and never a new answer."""
