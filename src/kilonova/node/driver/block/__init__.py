"""The block port and its drivers."""
