"""Networks, subnets, ports, routers and security groups: rows, their rules, and the documents that nodes build from.

A router's interfaces, its gateway and a network's DHCP server are ports like any other, told apart by `device_owner`.
A row in `network_address` is what makes an address taken: its key decides between two that want the same one.

Locks are taken in the order router, network, port, quota of ports, group, pool; for rules, group before their quota.
"""
