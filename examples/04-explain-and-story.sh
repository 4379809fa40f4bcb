#!/bin/sh
# Why is there no room, and what happened? Asks before creating, creates what fits nowhere, reads its story.
#
#   examples/04-explain-and-story.sh [STATE]
#
# Needs a running cloud (its state directory is STATE, ./var unless given), kilonova and python-openstackclient on PATH.
set -eu
state=${1:-var}
name=example-04
. "$state/openrc"

trap 'openstack server delete --wait "$name" || true; openstack flavor delete "$name" || true' EXIT

echo "-- a size that fits"
kilonova explain --state "$state" --flavor m1.nano

echo "-- a size that fits nowhere"
openstack flavor create --vcpus 1000 --ram 128 --disk 1 "$name" -f value -c name
kilonova explain --state "$state" --flavor "$name" || echo "explain ends with $?"

echo "-- created all the same"
openstack server create --image kilonova-guest --flavor "$name" --network private "$name" -f value -c status
until [ "$(openstack server show "$name" -f value -c status)" = ERROR ]; do sleep 1; done
openstack server show "$name" -f value -c fault

echo "-- its story"
kilonova story --state "$state" "$name"
