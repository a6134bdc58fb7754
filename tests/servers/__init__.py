"""Servers that this project did not write."""
