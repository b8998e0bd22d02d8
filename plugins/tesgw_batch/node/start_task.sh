# Makes a node ready for tasks. The pool's start task runs it as root, on the host, as often as Azure Batch likes.
set -euo pipefail
umask 077
home=$AZ_BATCH_NODE_SHARED_DIR/tesgw
beats=$home/heartbeats
rm -f "$home/ready"
mkdir -p "$beats"

# Containers are kept away from the metadata service, whose tokens are the node's, and from Azure's agent, but for its DNS:
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
# Each rule goes before the ones that are there, so nobody else may be at it.
rule() { iptables -w -C DOCKER-USER "$@" 2>/dev/null || iptables -w -I DOCKER-USER "$@"; }
shield() {
  flock 8
  iptables -w -N DOCKER-USER 2>/dev/null || true  # Docker takes the chain as it finds it
  rule -d 169.254.169.254 -j DROP
  rule -d 168.63.129.16 -j DROP
  rule -d 168.63.129.16 -p udp --dport 53 -j RETURN
  rule -d 168.63.129.16 -p tcp --dport 53 -j RETURN
}
if [ "${TESGW_SHIELD:-on}" = on ]; then
  shield 8>/run/tesgw-shield.lock
fi

# The guard removes the containers of jobs whose runner shows no sign of life. Terminated by Azure Batch, a runner leaves
# them, since they are Docker's children. Two looks, for the clock may have been set in between.
cat >"$home/guard.sh.new" <<'GUARD'
beats=$1 instance=$2 seconds=$3 suspects=" "
shopt -s nullglob

find_containers() { docker ps --all --quiet --filter "label=tesgw.job=$1" --filter "label=tesgw.instance=$instance"; }

remove() {
  local found
  found=$(find_containers "$1") || return 0
  [ -z "$found" ] || docker rm --force --volumes $found
  found=$(find_containers "$1") && [ -z "$found" ] && rm -f "$beats/$1" && echo "$(date -Is) removed what job $1 left"
}

while [ -d "$beats" ]; do
  stale=" " files=("$beats"/*)
  if [ ${#files[@]} -gt 0 ]; then
    for job in $(find "$beats" -type f ! -newermt "$seconds seconds ago" -printf '%f '); do
      case $suspects in *" $job "*) remove "$job" ;; esac
      stale+="$job "
    done
  fi
  suspects=$stale
  sleep 2
done
GUARD
mv "$home/guard.sh.new" "$home/guard.sh"

# It has to outlive the start task, whose processes Azure Batch may end.
guard=(flock --nonblock --close "$home/guard.lock" /bin/bash "$home/guard.sh")
guard+=("$beats" "$AZ_BATCH_POOL_ID/$AZ_BATCH_NODE_ID" "${TESGW_STALE_SECONDS:-20}")
if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
  unit=tesgw-guard-$AZ_BATCH_NODE_ID
  systemctl is-active --quiet "$unit" ||
    systemd-run --unit="$unit" --collect --property=Restart=on-failure --property=OOMScoreAdjust=-900 -- "${guard[@]}"
else
  setsid nohup "${guard[@]}" </dev/null >>"$home/guard.log" 2>&1 &
fi
touch "$home/ready"
