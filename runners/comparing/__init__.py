"""Runs beside each other, from what they left in their folders."""
