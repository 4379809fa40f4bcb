"""The virt port and its drivers."""
