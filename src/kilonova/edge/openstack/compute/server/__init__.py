"""Servers: create, list, show, change, delete, and everything under a server's own address."""
