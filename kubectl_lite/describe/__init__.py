"""What `describe` shows, kind by kind: pure functions from objects to lines with tabs, in the layout that users know."""
