"""Who may come in, for what, and how much: the same for every entrance."""
