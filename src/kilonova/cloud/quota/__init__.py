"""Limits and exact use, per project and resource."""
