"""Metadata definitions: a catalog of what may be said about images, flavors and servers, and how it is meant."""
