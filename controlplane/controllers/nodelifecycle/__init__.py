"""Nodes that fall silent: told by condition and taint, and their pods evicted after the time they tolerate."""
