#!/bin/sh
# A first task with curl: post it, wait for its end, show what it printed. Usage: sh examples/first_task.sh [BASE_URL]
set -eu
tes=${1:-http://127.0.0.1:8000}/ga4gh/tes/v1

id=$(curl -sSf -d "@$(dirname "$0")/first-task.json" "$tes/tasks" | sed 's/.*"id" *: *"\([^"]*\)".*/\1/')
until task=$(curl -sSf "$tes/tasks/$id") && echo "$task" | grep -E '"(COMPLETE|[A-Z]*_ERROR|CANCELED)"'; do
    [ -n "$task" ] || exit 1
    sleep 0.5
done
curl -sSf "$tes/tasks/$id?view=FULL"
