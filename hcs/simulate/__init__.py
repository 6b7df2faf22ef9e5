"""Plates with known truth: cells that live, optics that look at them, a plate map and accidents."""
