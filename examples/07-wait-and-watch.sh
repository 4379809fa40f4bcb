#!/bin/sh
# Wait for a server in one request, and watch its whole life as a stream of events, with curl.
#
#   examples/07-wait-and-watch.sh [STATE]
#
# Needs a running cloud (its state directory is STATE, ./var unless given), curl and python-openstackclient on PATH.
set -eu
state=${1:-var}
name=example-07
. "$state/openrc"
token=$(openstack token issue -f value -c id)
cloud=${OS_AUTH_URL%/identity/*}
events=$(mktemp)

curl -sS -N -H "X-Auth-Token: $token" "$cloud/kilonova/v1/events" >"$events" &
watcher=$!
trap 'kill $watcher; rm -f "$events"; openstack server delete --wait "$name" 2>/dev/null || true' EXIT
until [ -s "$events" ]; do sleep 0.1; done

server=$(openstack server create --image kilonova-guest --flavor m1.nano --network private "$name" -f value -c id)
echo "-- waits, at most a minute"
curl -sS -H "X-Auth-Token: $token" "$cloud/compute/v2.1/servers/$server?wait=60&status=ACTIVE,ERROR" |
    grep -o '"status":"[A-Z]*"'
openstack server delete --wait "$name"
until grep -q "^event: server.deleted" "$events"; do sleep 0.1; done
echo "-- what was seen meanwhile"
grep -A 1 "^event: " "$events"
