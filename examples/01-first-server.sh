#!/bin/sh
# A first server with the openstack client: key pair, server, wait, console, delete.
#
#   examples/01-first-server.sh [STATE]
#
# Needs a running cloud (its state directory is STATE, ./var unless given) and python-openstackclient on PATH.
set -eu
state=${1:-var}
name=example-01
. "$state/openrc"

work=$(mktemp -d)
trap 'openstack server delete --wait "$name" || true; openstack keypair delete "$name" || true; rm -r "$work"' EXIT

openstack keypair create --private-key "$work/key" "$name"
openstack server create --image kilonova-guest --flavor m1.nano --network private --key-name "$name" --wait "$name" \
    -c name -c status -c addresses

echo "Waiting until the guest says that it is ready"
tries=0
until openstack console log show "$name" | grep 'KILONOVA READY'; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { echo "The guest said nothing" >&2; exit 1; }
    sleep 1
done

openstack server list
openstack server event list "$name" --fit-width
