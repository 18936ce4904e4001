"""Ask many recorded questions again and see what changed."""
