"""Pure functions over series: smoothing, thinning, verdict, outlook."""
