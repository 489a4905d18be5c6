"""The terminal screens; knows only the public names of trainer."""
