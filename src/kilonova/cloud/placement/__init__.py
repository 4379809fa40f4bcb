"""Placement: providers of resources, what they have, what they are like, and who uses how much of it.

kilonova's hosts are providers too: what they have and who uses it is read from `cloud.host`, never kept twice.
"""
