"""OpenStack's APIs, a folder a service, and what they share."""
