"""One file a sheet: what lies over a screen until it is answered."""
