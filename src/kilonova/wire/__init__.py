"""Messages between control plane and node: typed, versioned documents and nothing else.

Every change here is additive: a node one version behind or ahead reads what it knows and ignores the rest.
"""

PROTOCOL = 1
