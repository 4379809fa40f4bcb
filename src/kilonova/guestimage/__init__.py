"""The small guest `kilonova-guest`: a 20 to 30 MB cloud image made from Debian packages.

`build.build` makes it, `program.HOST_PACKAGES` says what the building machine needs, `files/` holds the guest's own
scripts. Nothing here needs root, loop devices or a compiler.

What the guest does: DHCP on every card (RFC 2131, classless routes of RFC 3442, MTU, DNS), IPv6 from the kernel;
metadata from a config drive (label config-2), else from http://169.254.169.254 in OpenStack's form, else in EC2's;
user data that starts with `#!` runs once per instance, other user data lies in /run/user_data, and vendor data is not
looked at; the root disk grows at each boot; ssh takes root's keys only. On the console (ttyS0, tty1) `root` logs in,
without a password unless the metadata has an `admin_pass` or the guest agent set one. A guest that finds a new instance
id on its disk (a snapshot started as another server) makes new ssh host keys and forgets the old one's public keys.

When all is done it says on ttyS0, in one line (`source` is drive, openstack, ec2 or none; addresses are IPv4):
`KILONOVA READY instance=ID boot=BOOT-ID hostname=NAME source=SOURCE addresses=A,B keys=N uptime=SECONDS`.
Disks may be virtio, virtio-scsi, NVMe or IDE, network cards virtio or vmxnet3: Debian's cloud kernel has no AHCI driver
and no e1000.
"""
