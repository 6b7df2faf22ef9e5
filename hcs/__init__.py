"""Overnight analysis of live-cell high-content screens."""

from __future__ import annotations

__version__ = "0.1.0.dev0"
