"""Scaling measurements. Each module is a program that prints a line of JSON for each size.

All take a peer's name and the server's URL, and then the sizes, separated by commas.
"""
