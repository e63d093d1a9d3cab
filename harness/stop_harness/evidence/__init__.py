"""Observation → facts. Pure."""
