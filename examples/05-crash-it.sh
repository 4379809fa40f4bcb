#!/bin/sh
# Kills the cloud with SIGKILL while 20 servers boot, starts it again, and counts: all done, nothing left over.
#
#   examples/05-crash-it.sh
#
# Starts a simulated cloud of its own in a temporary directory. Needs kilonova and python-openstackclient on PATH.
set -eu
state=$(mktemp -d)/cloud
trap 'kilonova clean --state "$state" --yes; rmdir "$(dirname "$state")"' EXIT

up() {
    KILONOVA_FAKE_BOOT_SECONDS=8 kilonova up --state "$state" --port 0 --driver fake --fake-hosts 5 --detach
    . "$state/openrc"
}

up
openstack server create --image kilonova-guest --flavor m1.tiny --network private --min 20 --max 20 crash -c id
echo "before:$(openstack server list -f value -c Status | sort | uniq -c | tr -s ' \n' ' ')"

kill -9 "$(cat "$state/kilonova.pid")"
echo "killed"

up
tries=0
while openstack server list -f value -c Status | grep -q BUILD; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { echo "They are stuck" >&2; exit 1; }
    sleep 1
done
echo "after:$(openstack server list -f value -c Status | sort | uniq -c | tr -s ' \n' ' ')"
kilonova doctor --state "$state"
