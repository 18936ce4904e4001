"""Record Flowise's responses and play them back, for users' own tests without a Flowise."""
