"""Servers of other projects."""
