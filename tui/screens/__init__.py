"""One file a screen. A screen's module is imported when it is first opened, not before: see `tui.app`."""
