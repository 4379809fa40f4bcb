"""The net port and its drivers."""
