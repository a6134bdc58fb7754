"""Colours that are readable on a white page and on the dark one of GitHub: charts are transparent. Pure."""

from __future__ import annotations

LIGHT_PAGE = "#ffffff"
DARK_PAGE = "#0d1117"

INK = "#797979"
"""Text and axes: a medium grey, with a contrast of 4.3 to both pages."""
OURS = "#d1580f"
SYNCHRONOUS = "#2f7fd6"
ASYNCHRONOUS = "#1f8f5f"
LINES = (OURS, SYNCHRONOUS, ASYNCHRONOUS, "#b0529c")


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, "contrast ratio"; 3 is required for shapes)."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
